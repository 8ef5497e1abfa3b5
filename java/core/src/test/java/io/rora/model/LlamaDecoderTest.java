package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LlamaDecoderTest {
  private static final double TOLERANCE = 1e-4; // absolute, of logits around 1

  static Stream<String> configs() {
    return TinyConfigs.all().keySet().stream();
  }

  @ParameterizedTest
  @MethodSource("configs")
  void decodingMatchesThePlainReference(String name) throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.all().get(name))) {
      int[] ids = test.documents(30).get(0);
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      PlainLlama plain = test.plain();
      adapters.attach(plain);
      double[][] expected = plain.logits(ids);
      DecoderOptions options = new DecoderOptions(2, 30, adapters.ranks());
      try (LlamaDecoder decoder = LlamaDecoder.create(test.model, options)) {
        adapters.attach(decoder);
        float[] logits = new float[test.model.config().vocabSize()];
        decoder.prompt(1, Arrays.copyOf(ids, 20), logits);
        assertClose(expected[19], logits, "after the prompt");
        for (int t = 20; t < ids.length; t++) {
          decoder.step(1, new int[] {1}, new int[] {ids[t]}, new float[][] {logits});
          assertClose(expected[t], logits, "token " + t);
        }
        assertEquals(30, decoder.length(1));
        assertEquals(0, decoder.length(0));
      }
    }
  }

  @Test
  void aPromptInChunksEqualsOneInOneGo() throws IOException {
    try (TestModel test = new TestModel(longContext())) {
      int[] ids = test.documents(600).get(0);
      PlainLlama plain = test.plain();
      double[][] expected = plain.logits(ids);
      try (LlamaDecoder decoder = LlamaDecoder.create(test.model, DecoderOptions.single(600))) {
        float[] logits = new float[test.model.config().vocabSize()];
        decoder.prompt(0, ids, logits);
        assertClose(expected[599], logits, "three chunks");
        decoder.truncate(0, 300);
        decoder.prompt(0, Arrays.copyOfRange(ids, 300, 600), logits);
        assertClose(expected[599], logits, "again from the middle");
      }
    }
  }

  @Test
  void sequencesAreIndependentAndCanBeCopied() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      List<int[]> documents = test.documents(9, 14);
      PlainLlama plain = test.plain();
      int vocabulary = test.model.config().vocabSize();
      DecoderOptions options = new DecoderOptions(3, 20, Map.of());
      try (LlamaDecoder decoder = LlamaDecoder.create(test.model, options)) {
        float[][] logits = new float[3][vocabulary];
        decoder.prompt(0, documents.get(0), logits[0]);
        decoder.prompt(2, documents.get(1), logits[2]);
        decoder.copy(0, 1, 0);
        decoder.step(3, new int[] {2, 1, 0}, new int[] {5, 6, 7}, logits);
        assertClose(last(plain, documents.get(1), 5), logits[0], "sequence 2");
        assertClose(last(plain, documents.get(0), 6), logits[1], "sequence 1");
        assertClose(last(plain, documents.get(0), 7), logits[2], "sequence 0");
        decoder.copy(1, 0, 9);
        decoder.step(1, new int[] {0}, new int[] {8}, logits);
        assertClose(last(plain, documents.get(0), 6, 8), logits[0], "a copy of the tail");
      }
    }
  }

  @Test
  void tokensBeyondTheRoomAreRefused() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      int context = test.model.config().maxPositionEmbeddings();
      IllegalArgumentException refused =
          assertThrows(
              IllegalArgumentException.class,
              () -> LlamaDecoder.create(test.model, DecoderOptions.single(context + 1)));
      assertTrue(refused.getMessage().contains("context of 96"), refused.getMessage());
      try (LlamaDecoder decoder = LlamaDecoder.create(test.model, DecoderOptions.single(4))) {
        float[] logits = new float[test.model.config().vocabSize()];
        assertThrows(IllegalArgumentException.class, () -> decoder.prompt(0, new int[5], logits));
        assertThrows(IllegalArgumentException.class, () -> decoder.prompt(0, new int[0], logits));
      }
    }
  }

  @Test
  void estimatedBytesAreThoseAllocated() throws IOException {
    for (DataType type : List.of(DataType.F32, DataType.BF16)) {
      try (TestModel test = new TestModel(TinyConfigs.all().get("widths by layer"), type, 1)) {
        DecoderOptions options = new DecoderOptions(3, 50, Map.of());
        long before = test.context.bytes();
        LlamaDecoder decoder = LlamaDecoder.create(test.model, options);
        assertEquals(
            LlamaDecoder.bytes(test.model.config(), type, options), test.context.bytes() - before);
        decoder.close();
        assertEquals(before, test.context.bytes());
      }
    }
  }

  @Test
  void twoDecodersGiveTheSameBits() throws IOException {
    float[][] logits = new float[2][];
    for (int run = 0; run < 2; run++) {
      try (TestModel test = new TestModel(TinyConfigs.grouped(), DataType.BF16, run + 1);
          LlamaDecoder decoder = LlamaDecoder.create(test.model, DecoderOptions.single(30))) {
        logits[run] = new float[test.model.config().vocabSize()];
        decoder.prompt(0, test.documents(30).get(0), logits[run]);
      }
    }
    assertArrayEquals(logits[0], logits[1]);
  }

  private static double[] last(PlainLlama plain, int[] ids, int... more) {
    int[] all = Arrays.copyOf(ids, ids.length + more.length);
    System.arraycopy(more, 0, all, ids.length, more.length);
    return plain.logits(all)[all.length - 1];
  }

  private static void assertClose(double[] expected, float[] actual, String message) {
    for (int i = 0; i < expected.length; i++) {
      assertEquals(expected[i], actual[i], TOLERANCE, message + ", logit " + i);
    }
  }

  private static ModelConfig longContext() {
    ModelConfig c = TinyConfigs.grouped();
    return new ModelConfig(
        c.architecture(),
        c.vocabSize(),
        c.hiddenSize(),
        c.headDim(),
        c.intermediateSizes(),
        c.attentionHeads(),
        c.keyValueHeads(),
        c.attentionBias(),
        c.mlpBias(),
        c.tieWordEmbeddings(),
        c.rope(),
        c.rmsNormEps(),
        1024,
        c.bosTokenId(),
        c.eosTokenIds(),
        c.padTokenId());
  }
}
