package io.rora.tokenizer;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import ai.djl.util.Utils;
import io.rora.files.FileFormatException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;

/**
 * Hugging Face's tokenizers library behind DJL's bindings, with what DJL does unasked switched off:
 * truncation, padding, reporting usage over the network and downloading a CUDA build of the
 * library.
 */
final class NativeTokenizer implements AutoCloseable {
  private final HuggingFaceTokenizer tokenizer;

  private NativeTokenizer(HuggingFaceTokenizer tokenizer) {
    this.tokenizer = tokenizer;
  }

  /**
   * Makes a tokenizer.
   *
   * @param where what messages call it
   * @param json the contents of a tokenizer.json
   */
  static NativeTokenizer of(String where, String json) throws IOException {
    // DJL reads both at its first use, an environment variable of the same name first.
    setUnlessSet("OPT_OUT_TRACKING", "true");
    setUnlessSet("RUST_FLAVOR", "cpu");
    load();
    try {
      return new NativeTokenizer(
          HuggingFaceTokenizer.newInstance(
              new ByteArrayInputStream(json.getBytes(StandardCharsets.UTF_8)),
              Map.of("truncation", "DO_NOT_TRUNCATE", "padding", "DO_NOT_PAD")));
    } catch (RuntimeException e) {
      throw new FileFormatException(
          where, "is no tokenizer that the tokenizers library understands: " + firstLine(e));
    }
  }

  private static void setUnlessSet(String name, String value) {
    if (System.getProperty(name) == null) {
      System.setProperty(name, value);
    }
  }

  /** Loads the native library, whose failures DJL reports without their cause. */
  private static void load() throws IOException {
    try {
      ai.djl.huggingface.tokenizers.jni.LibUtils.checkStatus();
    } catch (RuntimeException | LinkageError e) {
      Path folder = Utils.getEngineCacheDir("tokenizers");
      throw new IOException(
          "the native tokenizers library could not be unpacked into "
              + folder
              + " and loaded from there ("
              + rootMessage(e)
              + "): make that folder writable and allow programs to run from it, or name another"
              + " by the environment variable DJL_CACHE_DIR",
          e);
    }
  }

  private static String rootMessage(Throwable e) {
    Throwable root = e;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return firstLine(root);
  }

  private static String firstLine(Throwable e) {
    return e.getMessage() == null
        ? e.getClass().getSimpleName()
        : e.getMessage().lines().findFirst().orElse("");
  }

  /** Returns the ids of a text. Special tokens in it are parsed. */
  int[] encode(String text, boolean addSpecialTokens) {
    // Not through HuggingFaceTokenizer.encode: it also fetches strings and spans of all tokens.
    TokenizersLibrary library = TokenizersLibrary.LIB;
    long encoding = library.encode(tokenizer.getHandle(), text, addSpecialTokens);
    try {
      long[] ids = library.getTokenIds(encoding);
      int[] result = new int[ids.length];
      for (int i = 0; i < ids.length; i++) {
        result[i] = (int) ids[i];
      }
      return result;
    } finally {
      library.deleteEncoding(encoding);
    }
  }

  /** Returns the text of ids, without special tokens. */
  String decode(long[] ids, boolean skipSpecialTokens) {
    return tokenizer.decode(ids, skipSpecialTokens);
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
