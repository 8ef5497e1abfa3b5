package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** A random tiny model on a context of its own, and random documents for it. */
final class TestModel implements AutoCloseable {
  static final int PROMPT_TOKENS = 2;

  final MemorySource source;
  final RoraContext context;
  final LlamaModel model;

  TestModel(ModelConfig config, DataType type, int threads) throws IOException {
    source = new MemorySource(config, 7);
    context = RoraContext.open("cpu", threads);
    model = LlamaModel.load(context, source, type);
  }

  TestModel(ModelConfig config) throws IOException {
    this(config, DataType.F32, 1);
  }

  PlainLlama plain() {
    return new PlainLlama(source);
  }

  List<int[]> documents(int... lengths) {
    Random random = new Random(11);
    List<int[]> documents = new ArrayList<>();
    for (int length : lengths) {
      documents.add(random.ints(length, 0, model.config().vocabSize()).toArray());
    }
    return documents;
  }

  /** A batch of documents, all tokens but each one's first two supervised. */
  Batch batch(List<int[]> documents, int maxTokens) {
    Batch batch = context.batch(maxTokens);
    DocumentPacker packer = new DocumentPacker(batch);
    packer.clear();
    for (int[] document : documents) {
      packer.add(document, PROMPT_TOKENS, packer.tokens());
    }
    packer.fill();
    return batch;
  }

  @Override
  public void close() {
    model.close();
    context.close();
  }
}
