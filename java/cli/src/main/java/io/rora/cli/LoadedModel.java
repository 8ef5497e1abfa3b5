package io.rora.cli;

import io.rora.adapter.AdapterSet;
import io.rora.adapter.SavedAdapter;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.Adapters;
import io.rora.model.LlamaModel;
import io.rora.model.LoadListener;
import io.rora.model.WeightSource;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;

/** A model on a device with its tokenizer: what eval and generate begin with. */
public final class LoadedModel implements AutoCloseable {
  private final RoraContext context;
  private final LlamaModel model;
  private final Tokenizer tokenizer;

  private LoadedModel(RoraContext context, LlamaModel model, Tokenizer tokenizer) {
    this.context = context;
    this.model = model;
    this.tokenizer = tokenizer;
  }

  /**
   * Opens and loads a model.
   *
   * @param path a Hugging Face directory or a GGUF file
   * @param type of weights and activations
   * @param device {@code cpu} or {@code cuda[:i]}
   * @param threads 0 for all cores
   */
  public static LoadedModel open(
      Path path, DataType type, String device, int threads, LoadListener listener)
      throws IOException {
    RoraContext context = null;
    Tokenizer tokenizer = null;
    try (WeightSource source = WeightSource.open(path)) {
      tokenizer = Tokenizer.open(path);
      context = RoraContext.open(device, threads);
      LlamaModel model = LlamaModel.load(context, source, type, listener);
      return new LoadedModel(context, model, tokenizer);
    } catch (IOException | RuntimeException e) {
      if (context != null) {
        context.close();
      }
      if (tokenizer != null) {
        tokenizer.close();
      }
      throw e;
    }
  }

  /** The model. */
  public LlamaModel model() {
    return model;
  }

  /** Its tokenizer. */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /**
   * Loads an adapter for this model.
   *
   * @param directory in PEFT's layout; null for the plain model
   * @return to be closed by the caller
   */
  public OpenAdapter adapter(Path directory) throws IOException {
    if (directory == null) {
      return new OpenAdapter(Adapters.none(), null);
    }
    try (SavedAdapter saved = SavedAdapter.open(directory)) {
      AdapterSet set = AdapterSet.load(model, saved);
      return new OpenAdapter(set, set);
    }
  }

  /**
   * An adapter that is loaded, or none.
   *
   * @param adapters what to attach
   * @param setOrNull what to close
   */
  public record OpenAdapter(Adapters adapters, AdapterSet setOrNull) implements AutoCloseable {
    @Override
    public void close() {
      if (setOrNull != null) {
        setOrNull.close();
      }
    }
  }

  @Override
  public void close() {
    model.close();
    tokenizer.close();
    context.close();
  }
}
