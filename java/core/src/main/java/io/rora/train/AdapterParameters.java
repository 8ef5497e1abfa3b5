package io.rora.train;

import io.rora.adapter.Adapter;
import io.rora.adapter.AdapterFiles;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.AdapterSet;
import io.rora.adapter.SavedAdapter;
import io.rora.files.FileSink;
import io.rora.kernels.FloatArray;
import io.rora.model.LlamaPass;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** Trains the adapters of a set; for PiSSA only the first half of each rank. */
final class AdapterParameters implements TrainedParameters {
  private final AdapterSet set;
  private final boolean halfFrozen;
  private final boolean decays;
  private final List<Adapter> adapters;
  private float[][] frozenA;
  private float[][] frozenB;
  private float[] scratch;

  /**
   * @param halfFrozen whether the second half of every rank stays as it is
   * @param decays whether weight decay would change it all the same
   */
  AdapterParameters(AdapterSet set, boolean halfFrozen, boolean decays) {
    this.set = set;
    this.halfFrozen = halfFrozen;
    this.decays = decays;
    this.adapters = set.adapters();
    if (halfFrozen) {
      set.trainFirstHalves();
    }
    keepFrozen();
  }

  /** Zero gradients leave AdamW's values alone, but its decay does not ask for gradients. */
  private void keepFrozen() {
    if (!halfFrozen || !decays) {
      return;
    }
    frozenA = new float[adapters.size()][];
    frozenB = new float[adapters.size()][];
    int longest = 0;
    for (int i = 0; i < frozenA.length; i++) {
      FloatArray a = adapters.get(i).loraA();
      FloatArray b = adapters.get(i).loraB();
      int half = Math.toIntExact(a.length() / 2);
      frozenA[i] = new float[half];
      a.read(half, frozenA[i], 0, half);
      frozenB[i] = new float[Math.toIntExact(b.length())];
      b.read(0, frozenB[i], 0, frozenB[i].length);
      longest = Math.max(longest, frozenB[i].length);
    }
    scratch = new float[longest];
  }

  private void restoreFrozen() {
    for (int i = 0; i < frozenA.length; i++) {
      Adapter adapter = adapters.get(i);
      adapter.loraA().write(frozenA[i].length, frozenA[i], 0, frozenA[i].length);
      int count = frozenB[i].length;
      int rank = adapter.module().rank();
      adapter.loraB().read(0, scratch, 0, count);
      for (int row = 0; row < count; row += rank) {
        System.arraycopy(frozenB[i], row + rank / 2, scratch, row + rank / 2, rank - rank / 2);
      }
      adapter.loraB().write(0, scratch, 0, count);
    }
  }

  @Override
  public FloatArray values() {
    return set.values();
  }

  @Override
  public FloatArray gradients() {
    return set.gradients();
  }

  @Override
  public long split() {
    return set.split();
  }

  @Override
  public long parameters() {
    return halfFrozen ? set.parameters() / 2 : set.parameters();
  }

  @Override
  public List<AdapterModule> modules() {
    return set.modules();
  }

  @Override
  public void attach(LlamaPass pass) {
    set.attach(pass);
  }

  @Override
  public void refresh() {
    if (frozenA != null) {
      restoreFrozen();
    }
    set.refresh();
  }

  @Override
  public void write(FileSink sink) throws IOException {
    AdapterFiles.write(sink, set);
  }

  @Override
  public boolean writeRounds() {
    return false;
  }

  @Override
  public void read(Path directory) throws IOException {
    try (SavedAdapter saved = SavedAdapter.open(directory)) {
      saved.requireFor(set.model().config());
      set.copyFrom(saved);
    }
    keepFrozen();
  }

  @Override
  public void close() {
    set.close();
  }
}
