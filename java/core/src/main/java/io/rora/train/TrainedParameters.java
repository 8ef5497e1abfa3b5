package io.rora.train;

import io.rora.adapter.AdapterModule;
import io.rora.files.FileSink;
import io.rora.kernels.FloatArray;
import io.rora.model.LlamaPass;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** What a run trains: adapters or the whole model. */
sealed interface TrainedParameters extends AutoCloseable
    permits AdapterParameters, ModelParameters {
  /** All trained values. */
  FloatArray values();

  /** Their gradients, laid out likewise. */
  FloatArray gradients();

  /** How many of the values, from the first on, do not learn at LoRA+'s rate. */
  long split();

  /** The number of trained values. */
  long parameters();

  /** The adapted modules; empty for a whole model. */
  List<AdapterModule> modules();

  /** Makes the pass compute with them. */
  void attach(LlamaPass pass);

  /** Brings changed values to the kernels. Allocates nothing. */
  void refresh();

  /** Writes them the way they are used later: an adapter in PEFT's layout, or a model. */
  void write(FileSink sink) throws IOException;

  /** Whether {@link #write} rounds, so that a checkpoint must keep the values themselves too. */
  boolean writeRounds();

  /** Reads what {@link #write} wrote; called only where that does not round. */
  void read(Path directory) throws IOException;

  @Override
  void close();
}
