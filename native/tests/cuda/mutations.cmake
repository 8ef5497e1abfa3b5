# Bugs for mutate.cmake to plant:
#   planted(NAME FILE SOURCE TESTS TEXT REPLACEMENT)
# NAME begins with the kind. TESTS, each EXECUTABLE:FILTER, are the cheapest that see the bug. What
# changes no result has no place here, such as a guard that a second one repeats.

# --- product.h: the loops and their tiles

planted("missing wait: bf16 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
        copy_wait<Shape::kStages - 2>();
        const bool more]=] [=[
        const bool more]=])
planted("missing wait: fp32 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
    copy_wait<Shape::kStages - 2>();
    const Stages current]=] [=[
    const Stages current]=])
planted("wait for one copy less: bf16 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
        copy_wait<Shape::kStages - 2>();
        const bool more]=] [=[
        copy_wait<Shape::kStages - 1>();
        const bool more]=])
planted("wait for one copy less: fp32 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
    copy_wait<Shape::kStages - 2>();
    const Stages current]=] [=[
    copy_wait<Shape::kStages - 1>();
    const Stages current]=])
planted("missing barrier: bf16 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
        block_sync();
        if (more)]=] [=[
        if (more)]=])
planted("missing barrier: before the bf16 product's first tile"
        product.h skinny skinny:smallIntegersAreExact
[=[
    block_sync();
    fragments[0].load]=] [=[
    fragments[0].load]=])
planted("missing barrier: fp32 product"
        product.h skinny skinny:smallIntegersAreExact
[=[
    block_sync();
    if (tile + Shape::kStages - 1 < slice.tiles)]=] [=[
    if (tile + Shape::kStages - 1 < slice.tiles)]=])
planted("off-by-one stage: bf16 product"
        product.h skinny skinny:smallIntegersAreExact
[=[const int next = stage + 1 == Shape::kStages ?]=]
[=[const int next = stage + 2 == Shape::kStages ?]=])
planted("off-by-one stage: fp32 product writes the stage it reads"
        product.h skinny skinny:smallIntegersAreExact
[=[Stages(shared, stage == 0 ? Shape::kStages - 1 : stage - 1)]=] [=[Stages(shared, stage)]=])
planted("off-by-one stage: fp32 product starts one copy too few"
        product.h skinny skinny:smallIntegersAreExact
[=[for (int i = 0; i + 1 < Shape::kStages; ++i)]=]
[=[for (int i = 0; i + 2 < Shape::kStages; ++i)]=])
planted("wrong swizzle: a lane's chunk by addition"
        product.h skinny skinny:smallIntegersAreExact
[=[load_matrices(a[i], stage.a + i * kRowsA + (rows.a ^ (step * kTwo)))]=]
[=[load_matrices(a[i], stage.a + i * kRowsA + (rows.a + step * kTwo))]=])
planted("wrong swizzle: transposed B"
        product.h gemm gemm:backwardOfSmallIntegersIsExact
[=[load_matrices_transposed(b[j], stage.b + step * kRowsB + (rows.b ^ (j * kTwo)))]=]
[=[load_matrices_transposed(b[j], stage.b + step * kRowsB + (rows.b + j * kTwo))]=])
planted("wrong swizzle: tiles changed in place"
        product.h skinny skinny:smallIntegersAreExact
[=[auto* const place = reinterpret_cast<Bytes<16>*>(tile + Shape::at(row, chunk));]=]
[=[auto* const place = reinterpret_cast<Bytes<16>*>(tile + index * Shape::kChunk);]=])
planted("out-of-bounds row: copied tiles"
        product.h skinny skinny:smallIntegersAreExact
[=[const bool valid = row < rows;]=] [=[const bool valid = true;]=])
planted("out-of-bounds row: tiles copied by elements"
        product.h skinny skinny:smallIntegersAreExact
[=[const int left = row < rows ? columns - chunk * Shape::kChunk : 0;]=]
[=[const int left = columns - chunk * Shape::kChunk;]=])
planted("out-of-bounds row: written strips"
        product.h skinny skinny:smallIntegersAreExact
[=[
  if (m >= part.m || n >= part.n) return;
  if (op.slices > 1)
]=] [=[
  if (n >= part.n) return;
  if (op.slices > 1)
]=])
planted("out-of-bounds row: written elements"
        product.h skinny skinny:smallIntegersAreExact
[=[
  if (m >= part.m || n >= part.n) return;
  if (op.slices > 1) {
]=] [=[
  if (n >= part.n) return;
  if (op.slices > 1) {
]=])
planted("out-of-bounds column: copied tiles"
        product.h skinny skinny:smallIntegersAreExact
[=[    if (chunk * Shape::kChunk >= columns) rows = 0;
]=] "")
planted("wrong tile: the next projection's"
        product.h gemm gemm:forwardOfSmallIntegersIsExact
[=[n_tile -= op.part[part++].n_tiles;]=] [=[++part;]=])
planted("wrong segment: a slice that starts after the first"
        product.h gemm gemm:forwardOfSmallIntegersIsExact
[=[if (skipped < whole) break;]=] [=[if (skipped <= whole) break;]=])
planted("lost slice"
        product.h skinny skinny:smallIntegersAreExact
[=[for (int slice = 0; slice < op.slices; ++slice)]=]
[=[for (int slice = 1; slice < op.slices; ++slice)]=])
planted("wrong mask: the neighbours' columns"
        product.h gemm gemm:backwardOfSmallIntegersIsExact
[=[factor[0] *= t % 2 ? dropped[2] : dropped[0];]=] [=[factor[0] *= dropped[0];]=])

# --- gemm.cu

planted("wrong column: Y of a projection"
        gemm.cu gemm gemm:forwardOfSmallIntegersIsExact
[=[op.y + p.column, op.y_pitch,]=] [=[op.y, op.y_pitch,]=])
planted("wrong column: dY of a projection in dX"
        gemm.cu gemm gemm:backwardOfSmallIntegersIsExact
[=[op.dy + p.column, op.dy_pitch, p.weight, p.weight_pitch, p.out);
    if (]=] [=[op.dy, op.dy_pitch, p.weight, p.weight_pitch, p.out);
    if (]=])
planted("mask that is not applied: X of DoRA's base"
        gemm.cu gemm gemm:forwardOfSmallIntegersIsExact
[=[dropped.drops_a = dropped.apart = true]=] [=[dropped.apart = true]=])
planted("mask that is not applied: G' A in dX"
        gemm.cu gemm gemm:backwardOfSmallIntegersIsExact
[=[slab.apart = slab.drops_c = true]=] [=[slab.apart = true]=])
planted("unscaled slab: H' B of DoRA"
        gemm.cu gemm gemm:forwardOfSmallIntegersIsExact
[=[slab.apart = true, slab.column_scale = p.row_scale;]=] [=[slab.apart = true;]=])

# --- skinny.cu

planted("unscaled slab: H'"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[
    part.factor = p.scaling;
    Segment<T>& segment =]=] [=[
    Segment<T>& segment =]=])
planted("unscaled slab: G'"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[
    part.factor = p.scaling;
    add_segment(]=] [=[
    add_segment(]=])
planted("unscaled slab: H' without 1 / (1 - p)"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[
    part.factor *= p.dropout.scale;
]=] "
")
planted("wrong column: dY of a projection in G'"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[op.dy + p.column, op.dy_pitch, p.lora_B, p.lora_B_pitch, p.out)]=]
[=[op.dy, op.dy_pitch, p.lora_B, p.lora_B_pitch, p.out)]=])
planted("wrong column: dY of a projection in the gradient of lora_B"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[op.dy + p.column, op.dy_pitch, p.h, op.x_pitch, op.tokens)]=]
[=[op.dy, op.dy_pitch, p.h, op.x_pitch, op.tokens)]=])
planted("mask that is not applied: X in H'"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[segment.drops_a = true, ]=] "")
planted("mask that is not applied: X in the gradient of lora_A"
        skinny.cu skinny skinny:smallIntegersAreExact
[=[segment.drops_b = true, ]=] "")

# --- attention

planted("missing wait: K"
        attention.cu attention attention:attentionToOneRowIsExact
[=[
    copy_wait<0>();
    block_sync();  // k is there]=] [=[
    block_sync();  // k is there]=])
planted("missing wait: V"
        attention.cu attention attention:attentionToOneRowIsExact
[=[
    copy_wait<0>();
    block_sync();  // v is there]=] [=[
    block_sync();  // v is there]=])
planted("missing barrier: K"
        attention.cu attention attention:attentionToOneRowIsExact
[=[    block_sync();  // k is there, nobody still reads v
]=] "")
planted("missing barrier: V"
        attention.cu attention attention:attentionToOneRowIsExact
[=[    block_sync();  // v is there, nobody still reads k
]=] "")
planted("missing barrier: fp32 tiles"
        attention.cu attention attention:attentionToOneRowIsExact
[=[    block_sync();  // nobody still reads the tiles
]=] "")
planted("softmax rescale forgotten: y"
        attention.cu attention attention:attentionMatchesDoubleOnOneDocument
[=[y[c][i] *= factor[i / 2];]=] [=[y[c][i] *= 1.0f;]=])
planted("softmax rescale forgotten: the sum"
        attention.cu attention attention:attentionMatchesDoubleOnOneDocument
[=[      sum[half] *= factor[half];
]=] "")
planted("softmax rescale forgotten: fp32"
        attention.cu attention attention:attentionMatchesDoubleOnOneDocument
[=[sum[i][c] *= factor;]=] [=[sum[i][c] *= 1.0f;]=])
planted("mask that is not applied: scores"
        attention.cu attention attention:attentionMatchesDoubleOnOneDocument
[=[
      if (!mine.all_hold(tile.row, kTile)) mask_scores(s, range, tile.row + t * 2);
]=] "
")
planted("mask off by one: a token does not see itself"
        attention_tiles.h attention attention:attentionOfOneTokenReturnsItsValue
[=[first <= row && row <= last]=] [=[first <= row && row < last]=])
planted("out-of-bounds row: tiles copied past the last token"
        attention_tiles.h attention attention:attentionToOneRowIsExact
[=[const bool copied = valid(r) && columns > 0;]=] [=[valid(r); const bool copied = columns > 0;]=])
planted("out-of-bounds row: stored y"
        attention_tiles.h attention attention:attentionToOneRowIsExact
[=[
    if (row >= rows) continue;
]=] "
")
planted("wrong swizzle: keys"
        attention_tiles.h attention attention:attentionToOneRowIsExact
[=[load_matrices(right, b + n * 8 * kDim + (b_at ^ chunk * 8));]=]
[=[load_matrices(right, b + n * 8 * kDim + (b_at + chunk * 8));]=])
planted("wrong swizzle: the copy's"
        attention_tiles.h attention attention:attentionToOneRowIsExact
[=[bf16* target = tile + swizzled<kDim>(r, chunk);]=]
[=[bf16* target = tile + r * kDim + chunk * 8;]=])
planted("missing barrier: stages of queries"
        attention_backward.cu attention_backward attention:attentionToOneRowIsExact
[=[
    block_sync();  // this stage is there, nobody still reads the other
    if (next.head < group)]=] [=[
    if (next.head < group)]=])
planted("missing wait: stages of queries"
        attention_backward.cu attention_backward attention:attentionToOneRowIsExact
[=[
    copy_wait<0>();
    block_sync();  // this stage is there, nobody still reads the other
    if (next.head < group)]=] [=[
    block_sync();
    if (next.head < group)]=])
planted("off-by-one stage: queries"
        attention_backward.cu attention_backward attention:attentionToOneRowIsExact
[=[
    const auto& from = memory.stage[stage];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.k]=] [=[
    const auto& from = memory.stage[stage ^ 1];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.k]=])
planted("off-by-one stage: keys"
        attention_backward.cu attention_backward attention:attentionMatchesDoubleOnOneDocument
[=[
    const auto& from = memory.stage[stage];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.q]=] [=[
    const auto& from = memory.stage[stage ^ 1];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.q]=])
planted("mask that is not applied: probabilities of the backward pass"
        attention_backward.cu attention_backward attention:attentionMatchesDoubleOnOneDocument
[=[if (!all_hold && !range.holds(mine + g + half * 8)) value = 0.0f;]=] "")
planted("gradient without D"
        attention_backward.cu attention_backward attention:attentionMatchesDoubleOnOneDocument
[=[ds[n][half * 2 + i] = value * (ds[n][half * 2 + i] - delta);]=]
[=[ds[n][half * 2 + i] *= value;]=])
planted("softmax rescale forgotten: joined parts"
        attention_cached.cu attention_cached attention:attentionThroughACacheIsAttention
[=[values[e] = values[e] * mine + other[e] * theirs;]=] [=[values[e] += other[e] * theirs;]=])
planted("mask that is not applied: rows past a part's last"
        attention_cached.cu attention_cached attention:attentionThroughACacheIsAttention
[=[if (!inside) score = -INFINITY;]=] "")

# --- kernels over rows

planted("missing barrier: sums of a block"
        rows.h rmsnorm rmsnorm:rmsnormNormalisesEachToken
[=[
  block_sync();
  T sum = 0;]=] [=[
  T sum = 0;]=])
planted("missing barrier: sums of a block that follow each other"
        rows.h rmsnorm rmsnorm:rmsnormGradientsAddToWhatIsThere
[=[sum += memory[warp];
  block_sync();
]=] [=[sum += memory[warp];
]=])
planted("missing barrier: stripes of the weight's gradient"
        rmsnorm.cu rmsnorm rmsnorm:rmsnormGradientsAddToWhatIsThere
[=[
  block_sync();
  if (warp > 0) return;]=] [=[
  if (warp > 0) return;]=])
planted("out-of-bounds element: the end of a row"
        rows.h swiglu swiglu:swigluMultipliesSiluOfGateWithUp
[=[
    if (i < valid) put(target[i], v[i]);]=] [=[
    put(target[i], v[i]);]=])
planted("out-of-bounds element: a row's padding"
        convert.cu convert convert:rowsKeepTheirValuesOrRoundThem
[=[rest = op.columns - f;]=] [=[rest = op.target_pitch - f;]=])
planted("wrong sign: the inverse rotation"
        rope.cu rope rope:ropeByQuarterTurnsIsExact
[=[op.inverse ? -1.0f : 1.0f]=] [=[1.0f]=])
planted("softmax rescale forgotten: cross entropy"
        loss.cu loss loss:crossEntropyAndItsGradientMatchTheFormulas
[=[
    sum *= exponential(x, maximum - larger);
]=] "
")
planted("missing barrier: the factor of the gradient"
        loss.cu loss loss:crossEntropyAndItsGradientMatchTheFormulas
[=[  block_sync();  // the factor is there, and nobody still needs the label's logit
]=] "")
planted("missing barrier: words of equal ids"
        embedding.cu embedding embedding:embeddingGradientsAddInTheOrderOfTheTokens
[=[
    block_sync();
    for (int warp]=] [=[
    for (int warp]=])
planted("missing barrier: words of the next ids"
        embedding.cu embedding embedding:embeddingGradientsAddInTheOrderOfTheTokens
[=[
    block_sync();
  }
  store(target]=] [=[
  }
  store(target]=])
planted("missing barrier: tiles of the row products"
        dora.cu dora dora:doraNormsAreExactOnIntegers
[=[    block_sync();  // nobody still reads the tiles
]=] "")
planted("lost stretch: sum of squares"
        optimizer.cu optimizer optimizer:sumOfSquaresIsExactOnIntegers
[=[for (int64_t i = threadIdx.x; i < stretches;]=]
[=[for (int64_t i = threadIdx.x + 1; i < stretches;]=])
