package io.rora.tokenizer;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * How a byte-level tokenizer cuts text before it merges, by the names that llama.cpp writes into
 * {@code tokenizer.ggml.pre}. The patterns are those of the tokenizers that the names stand for.
 */
enum PreTokenizer {
  /** What llama.cpp takes where a file names nothing. */
  DEFAULT("default", false, false) {
    @Override
    void write(ArrayNode steps) {
      split(steps, "[\\p{P}\\$\\+<=>\\^~\\|]+");
      split(steps, GPT_2_PATTERN);
      split(steps, "\\p{N}+");
      split(steps, "[0-9][0-9][0-9]");
      byteLevel(steps, false);
    }
  },

  /** GPT-2's pattern, which is built into the byte-level step. */
  GPT_2(
      "gpt-2 gpt2 olmo mpt jais trillion mellum gigachat exaone4 granite-docling a.x-4.0",
      false,
      false) {
    @Override
    void write(ArrayNode steps) {
      byteLevel(steps, true);
    }
  },

  /** Every digit alone, then GPT-2's pattern. */
  DIGITS("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", false, false) {
    @Override
    void write(ArrayNode steps) {
      steps.addObject().put("type", "Digits").put("individual_digits", true);
      byteLevel(steps, true);
    }
  },

  /** Llama 3's: up to three digits together; words of the vocabulary are not merged anew. */
  LLAMA_3("llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", true, true) {
    @Override
    void write(ArrayNode steps) {
      split(steps, CONTRACTIONS + WORDS + "\\p{N}{1,3}" + REST);
      byteLevel(steps, false);
    }
  },

  /** Llama 3's pattern with all words merged. */
  SMAUG("smaug-bpe dbrx", false, false) {
    @Override
    void write(ArrayNode steps) {
      LLAMA_3.write(steps);
    }
  },

  /** Qwen 2's, which composes characters (NFC) first. */
  QWEN_2("qwen2", false, false) {
    @Override
    void write(ArrayNode steps) {
      split(steps, CONTRACTIONS + WORDS + "\\p{N}" + REST);
      byteLevel(steps, false);
    }

    @Override
    Optional<String> normalizer() {
      return Optional.of("NFC");
    }
  },

  /** Mistral's Tekken: words are cut where lower case turns into upper case. */
  TEKKEN("tekken", true, true) {
    @Override
    void write(ArrayNode steps) {
      String upper = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
      String lower = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
      String start = "[^\\r\\n\\p{L}\\p{N}]?";
      split(
          steps,
          (start + upper + "*" + lower + "+|" + start + upper + "+" + lower + "*|\\p{N}")
              + "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+");
      byteLevel(steps, false);
    }
  },

  /** DeepSeek Coder's. */
  DEEPSEEK_CODER("deepseek-coder", false, false) {
    @Override
    void write(ArrayNode steps) {
      split(steps, "[\\r\\n]");
      split(steps, "\\s?\\p{L}+");
      split(steps, "\\s?\\p{P}+");
      split(steps, "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+");
      steps.addObject().put("type", "Digits").put("individual_digits", true);
      byteLevel(steps, false);
    }
  },

  /** Seed Coder's. */
  SEED_CODER("seed-coder", false, false) {
    @Override
    void write(ArrayNode steps) {
      split(
          steps,
          CONTRACTIONS
              + WORDS
              + "\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+");
      byteLevel(steps, false);
    }
  };

  private static final String GPT_2_PATTERN =
      "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
  private static final String CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|";
  private static final String WORDS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  private static final String REST =
      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

  /** Separated by single spaces. */
  private final String names;

  private final boolean ignoreMerges;
  private final boolean addBos;

  PreTokenizer(String names, boolean ignoreMerges, boolean addBos) {
    this.names = names;
    this.ignoreMerges = ignoreMerges;
    this.addBos = addBos;
  }

  /** Returns the pre-tokenizer of a name, if it is known. */
  static Optional<PreTokenizer> named(String name) {
    return Arrays.stream(values())
        .filter(known -> (" " + known.names + " ").contains(" " + name + " "))
        .findFirst();
  }

  /** Returns all names, for messages. */
  static String known() {
    return Arrays.stream(values())
        .map(known -> known.names.replace(" ", ", "))
        .collect(Collectors.joining(", "));
  }

  /** Returns whether a word that is in the vocabulary is taken as it is. */
  boolean ignoreMerges() {
    return ignoreMerges;
  }

  /** Returns whether a BOS is added where the file does not say. */
  boolean addBos() {
    return addBos;
  }

  /** Returns the type of the normalizer that comes before, if any. */
  Optional<String> normalizer() {
    return Optional.empty();
  }

  /** Returns the pre_tokenizer of a tokenizer.json. */
  ObjectNode json(ObjectMapper mapper) {
    ObjectNode json = mapper.createObjectNode().put("type", "Sequence");
    write(json.putArray("pretokenizers"));
    return json;
  }

  abstract void write(ArrayNode steps);

  private static void split(ArrayNode steps, String pattern) {
    ObjectNode step = steps.addObject().put("type", "Split");
    step.putObject("pattern").put("Regex", pattern);
    step.put("behavior", "Isolated").put("invert", false);
  }

  private static void byteLevel(ArrayNode steps, boolean useRegex) {
    steps
        .addObject()
        .put("type", "ByteLevel")
        .put("add_prefix_space", false)
        .put("trim_offsets", true)
        .put("use_regex", useRegex);
  }
}
