package io.rora.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.rora.files.FileFormatException;
import io.rora.gguf.GgufFile;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/**
 * Rebuilds the tokenizer that a GGUF file's metadata describes as a tokenizer.json: byte-level BPE
 * with the pre-tokenizer that the file names, or SentencePiece BPE. It gives the ids of the
 * tokenizer that the file was converted from.
 */
public final class GgufTokenizer {
  private static final String SPACE = "\u2581";
  private static final int BYTES = 256;

  private final GgufVocabulary vocabulary;
  private final ObjectMapper mapper = new ObjectMapper();
  private final ObjectNode json = mapper.createObjectNode();

  private GgufTokenizer(GgufVocabulary vocabulary) {
    this.vocabulary = vocabulary;
  }

  /**
   * Builds the tokenizer of a file, which may be closed afterwards.
   *
   * @throws FileFormatException naming the metadata that is missing, wrong or not supported
   */
  public static Tokenizer build(GgufFile file) throws IOException {
    return new Tokenizer(files(file.path().toString(), GgufVocabulary.read(file.metadata())));
  }

  static TokenizerFiles files(String where, GgufVocabulary vocabulary) throws IOException {
    GgufTokenizer tokenizer = new GgufTokenizer(vocabulary);
    String json = tokenizer.tokenizerJson(where);
    Map<String, String> texts = new LinkedHashMap<>();
    texts.put("tokenizer.json", json);
    texts.put("tokenizer_config.json", tokenizer.pretty(tokenizer.config()));
    texts.put("special_tokens_map.json", tokenizer.pretty(tokenizer.specialTokens()));
    return new TokenizerFiles(
        where,
        json,
        TokenizerFiles.SpecialIds.of(vocabulary.bos(), vocabulary.eos(), vocabulary.ends()),
        vocabulary.tokens().size(),
        List.of(),
        texts);
  }

  private String pretty(ObjectNode node) throws JsonProcessingException {
    return mapper.writerWithDefaultPrettyPrinter().writeValueAsString(node) + "\n";
  }

  // ---- tokenizer.json ----

  private String tokenizerJson(String where) throws IOException {
    json.put("version", "1.0").putNull("truncation").putNull("padding");
    addedTokens(json.putArray("added_tokens"));
    boolean bos;
    if (vocabulary.byteLevel()) {
      PreTokenizer pre = preTokenizer(where);
      byteLevel(where, pre);
      bos = vocabulary.addBos().orElse(pre.addBos());
    } else {
      sentencePiece();
      bos = vocabulary.addBos().orElse(true);
    }
    boolean eos = vocabulary.addEos().orElse(false);
    if (bos || eos) {
      json.set(
          "post_processor",
          PostProcessor.template(
              mapper,
              bos ? special(where, "bos", vocabulary.bos()) : null,
              eos ? special(where, "eos", vocabulary.eos()) : null));
    }
    return mapper.writeValueAsString(json);
  }

  private PostProcessor.Special special(String where, String name, OptionalInt id)
      throws FileFormatException {
    if (id.isEmpty()) {
      throw new FileFormatException(
          where,
          ("says that its tokenizer adds a token, but not which: the metadata key tokenizer.ggml."
                  + name)
              + "_token_id is missing");
    }
    return new PostProcessor.Special(vocabulary.tokens().get(id.getAsInt()), id.getAsInt());
  }

  private void addedTokens(ArrayNode target) {
    for (int id = 0; id < vocabulary.tokens().size(); id++) {
      switch (vocabulary.types().get(id)) {
        case CONTROL, UNKNOWN -> target.add(addedToken(id, true));
        case USER_DEFINED -> target.add(addedToken(id, false));
        default -> {
          // Reached by merges alone.
        }
      }
    }
  }

  private ObjectNode addedToken(int id, boolean special) {
    return TokenizerJson.specialToken(mapper, id, vocabulary.tokens().get(id), special);
  }

  private PreTokenizer preTokenizer(String where) throws FileFormatException {
    return PreTokenizer.named(vocabulary.pre())
        .orElseThrow(
            () ->
                new FileFormatException(
                    where,
                    "has the pre-tokenizer \""
                        + vocabulary.pre()
                        + "\" (metadata key tokenizer.ggml.pre), which is not known here: use the"
                        + " model's Hugging Face directory instead; known are "
                        + PreTokenizer.known()));
  }

  private void byteLevel(String where, PreTokenizer pre) throws FileFormatException {
    if (vocabulary.merges().isEmpty()) {
      throw new FileFormatException(
          where, "has no merges: the metadata key tokenizer.ggml.merges is missing or empty");
    }
    pre.normalizer()
        .ifPresentOrElse(
            type -> json.putObject("normalizer").put("type", type),
            () -> json.putNull("normalizer"));
    json.set("pre_tokenizer", pre.json(mapper));
    json.putNull("post_processor");
    json.putObject("decoder")
        .put("type", "ByteLevel")
        .put("add_prefix_space", true)
        .put("trim_offsets", true)
        .put("use_regex", true);
    ArrayNode merges = model(false, pre.ignoreMerges()).putArray("merges");
    for (String merge : vocabulary.merges()) {
      int space = merge.indexOf(' ', 1);
      if (space < 0 || space == merge.length() - 1) {
        throw new FileFormatException(
            where,
            "has the merge \""
                + merge
                + "\" (metadata key tokenizer.ggml.merges): expected two"
                + " tokens with a space between");
      }
      merges.addArray().add(merge.substring(0, space)).add(merge.substring(space + 1));
    }
  }

  private void sentencePiece() {
    ObjectNode normalizer = json.putObject("normalizer").put("type", "Sequence");
    ArrayNode normalizers = normalizer.putArray("normalizers");
    if (vocabulary.addSpacePrefix()) {
      normalizers.addObject().put("type", "Prepend").put("prepend", SPACE);
    }
    replace(normalizers.addObject(), " ", SPACE);
    json.putNull("pre_tokenizer").putNull("post_processor");
    ArrayNode decoders = json.putObject("decoder").put("type", "Sequence").putArray("decoders");
    replace(decoders.addObject(), SPACE, " ");
    decoders.addObject().put("type", "ByteFallback");
    decoders.addObject().put("type", "Fuse");
    if (vocabulary.addSpacePrefix()) {
      decoders.addObject().put("type", "Strip").put("content", " ").put("start", 1).put("stop", 0);
    }
    long bytes =
        vocabulary.types().stream().filter(type -> type == GgufVocabulary.TokenType.BYTE).count();
    ArrayNode merges = model(bytes == BYTES, false).putArray("merges");
    for (SentencePieceMerges.Merge merge : SentencePieceMerges.of(vocabulary)) {
      merges.addArray().add(merge.left()).add(merge.right());
    }
  }

  private static void replace(ObjectNode step, String pattern, String content) {
    step.put("type", "Replace").putObject("pattern").put("String", pattern);
    step.put("content", content);
  }

  private ObjectNode model(boolean byteFallback, boolean ignoreMerges) {
    ObjectNode model = json.putObject("model").put("type", "BPE").putNull("dropout");
    boolean unknown = !vocabulary.byteLevel() && vocabulary.unknown().isPresent();
    model.put(
        "unk_token", unknown ? vocabulary.tokens().get(vocabulary.unknown().getAsInt()) : null);
    model.putNull("continuing_subword_prefix").putNull("end_of_word_suffix");
    model.put("fuse_unk", !vocabulary.byteLevel());
    model.put("byte_fallback", byteFallback);
    model.put("ignore_merges", ignoreMerges);
    ObjectNode vocab = model.putObject("vocab");
    for (int id = 0; id < vocabulary.tokens().size(); id++) {
      vocab.put(vocabulary.tokens().get(id), id);
    }
    return model;
  }

  // ---- the files beside it ----

  private ObjectNode config() {
    ObjectNode config = specialTokens();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    config.put("clean_up_tokenization_spaces", false);
    vocabulary.chatTemplate().ifPresent(template -> config.put("chat_template", template));
    return config;
  }

  private ObjectNode specialTokens() {
    ObjectNode tokens = mapper.createObjectNode();
    name(tokens, "bos_token", vocabulary.bos());
    name(tokens, "eos_token", vocabulary.eos());
    name(tokens, "unk_token", vocabulary.unknown());
    name(tokens, "pad_token", vocabulary.padding());
    return tokens;
  }

  private void name(ObjectNode target, String field, OptionalInt id) {
    id.ifPresent(value -> target.put(field, vocabulary.tokens().get(value)));
  }
}
