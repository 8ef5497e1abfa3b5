package io.rora.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.rora.config.GenerationConfig;
import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;

/**
 * Reads the tokenizer of a Hugging Face directory as transformers' AutoTokenizer does:
 * tokenizer.json says how text is cut, tokenizer_config.json which tokens are special and, with
 * {@code add_bos_token} or {@code add_eos_token}, what is put around a text.
 */
final class HuggingFaceTokenizerFiles {
  private static final List<String> SPECIAL_FIELDS =
      List.of(
          "bos_token",
          "eos_token",
          "unk_token",
          "pad_token",
          "sep_token",
          "cls_token",
          "mask_token");
  private static final List<String> EXTRA_FIELDS =
      List.of("additional_special_tokens", "extra_special_tokens");
  private static final List<String> FILES =
      List.of(
          "tokenizer.json",
          "tokenizer_config.json",
          "special_tokens_map.json",
          "added_tokens.json",
          "chat_template.jinja",
          "tokenizer.model",
          "vocab.json",
          "merges.txt");

  private final Path directory;
  private final StrictJson config;

  /** The tokens that tokenizer_config.json, else special_tokens_map.json, names, by field. */
  private final Map<String, String> named = new LinkedHashMap<>();

  private final Set<String> special = new LinkedHashSet<>();

  private HuggingFaceTokenizerFiles(Path directory) throws IOException {
    this.directory = directory;
    this.config = optional("tokenizer_config.json");
    StrictJson map = optional("special_tokens_map.json");
    for (StrictJson json : List.of(map, config)) {
      for (String field : SPECIAL_FIELDS) {
        if (json.has(field)) {
          named.put(field, content(json, field, json.node(field)));
        }
      }
    }
    addedTokens();
    special.addAll(named.values());
    for (String field : EXTRA_FIELDS) {
      if (config.isList(field)) {
        for (JsonNode token : config.node(field)) {
          special.add(content(config, field, token));
        }
      }
    }
  }

  /** Reads the directory's tokenizer. */
  static TokenizerFiles read(Path directory) throws IOException {
    if (!Files.isRegularFile(directory.resolve("tokenizer.json"))) {
      throw new FileFormatException(directory, missing(directory));
    }
    return new HuggingFaceTokenizerFiles(directory).read();
  }

  private static String missing(Path directory) {
    String message = "has no tokenizer: looked for tokenizer.json (and tokenizer_config.json)";
    if (Files.exists(directory.resolve("tokenizer.model"))
        || Files.exists(directory.resolve("vocab.json"))) {
      return message
          + "; of the older format that is there, transformers makes one: "
          + "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";
    }
    return message + "; copy it from where the model came from";
  }

  private StrictJson optional(String name) throws IOException {
    Path file = directory.resolve(name);
    return Files.exists(file) ? StrictJson.read(file) : StrictJson.parse(file.toString(), "{}");
  }

  /** A token stands in these files as a string or as an object with its content. */
  private static String content(StrictJson json, String field, JsonNode token)
      throws FileFormatException {
    JsonNode content = token.isObject() ? token.path("content") : token;
    if (!content.isTextual()) {
      throw json.error(field, "is " + token + ", expected a string or an object with \"content\"");
    }
    return content.textValue();
  }

  /** Adds the special tokens of added_tokens_decoder, in the order of their ids. */
  private void addedTokens() throws FileFormatException {
    if (!config.has("added_tokens_decoder")) {
      return;
    }
    StrictJson decoder = config.object("added_tokens_decoder");
    Map<Integer, String> byId = new TreeMap<>();
    for (String id : decoder.fields()) {
      if (decoder.node(id).path("special").asBoolean()) {
        try {
          byId.put(Integer.parseInt(id), content(decoder, id, decoder.node(id)));
        } catch (NumberFormatException e) {
          throw decoder.error(id, "is not the id of a token");
        }
      }
    }
    special.addAll(byId.values());
  }

  private TokenizerFiles read() throws IOException {
    TokenizerJson json = TokenizerJson.read(directory.resolve("tokenizer.json"), special);
    boolean changed = false;
    for (String token : special) {
      changed |= json.addSpecial(token);
    }
    ObjectNode processor = postProcessor(json);
    List<Path> copies =
        FILES.stream().map(directory::resolve).filter(Files::isRegularFile).toList();
    StrictJson model = optional("config.json");
    int vocabulary = model.integer("vocab_size", 1, Integer.MAX_VALUE, json.size());
    TokenizerFiles.SpecialIds ids = ids(json, model);
    checkEos(ids.eos(), vocabulary);
    return new TokenizerFiles(
        directory.resolve("tokenizer.json").toString(),
        changed || processor != null ? json.rewritten(processor) : json.text(),
        ids,
        vocabulary,
        copies,
        Map.of());
  }

  private void checkEos(OptionalInt eos, int vocabulary) throws FileFormatException {
    if (eos.isPresent() && eos.getAsInt() >= vocabulary) {
      throw new FileFormatException(
          directory,
          "the eos_token has the id "
              + eos.getAsInt()
              + ", but the model's vocabulary ends at id "
              + (vocabulary - 1)
              + ": tokenizer and model do not belong together");
    }
  }

  /** Returns what replaces the file's own post-processor, null for nothing. */
  private ObjectNode postProcessor(TokenizerJson json) throws FileFormatException {
    if (!config.contains("add_bos_token") && !config.contains("add_eos_token")) {
      return null;
    }
    ObjectMapper mapper = new ObjectMapper();
    return PostProcessor.template(
        mapper,
        config.bool("add_bos_token", false) ? token(json, "bos_token") : null,
        config.bool("add_eos_token", false) ? token(json, "eos_token") : null);
  }

  private PostProcessor.Special token(TokenizerJson json, String field) {
    String content = named.get(field);
    return content == null
        ? null
        : new PostProcessor.Special(content, json.id(content).orElseThrow());
  }

  private TokenizerFiles.SpecialIds ids(TokenizerJson json, StrictJson model) throws IOException {
    List<Integer> others = new ArrayList<>(eosIds(model));
    others.addAll(GenerationConfig.read(directory).eosTokenIds());
    return TokenizerFiles.SpecialIds.of(id(json, "bos_token"), id(json, "eos_token"), others);
  }

  private static List<Integer> eosIds(StrictJson model) throws FileFormatException {
    if (!model.has("eos_token_id")) {
      return List.of();
    }
    return model.isList("eos_token_id")
        ? model.integers("eos_token_id", 0, Integer.MAX_VALUE)
        : List.of(model.integer("eos_token_id", 0, Integer.MAX_VALUE));
  }

  private OptionalInt id(TokenizerJson json, String field) {
    String content = named.get(field);
    return content == null ? OptionalInt.empty() : json.id(content);
  }
}
