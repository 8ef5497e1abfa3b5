package io.rora.tokenizer;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** The part of a tokenizer.json that puts tokens around a text. */
final class PostProcessor {
  private PostProcessor() {}

  /**
   * Returns a TemplateProcessing {@code [bos] text [eos]}.
   *
   * @param bos null for none
   * @param eos null for none
   */
  static ObjectNode template(ObjectMapper mapper, Special bos, Special eos) {
    ObjectNode processor = mapper.createObjectNode().put("type", "TemplateProcessing");
    ArrayNode single = processor.putArray("single");
    ArrayNode pair = processor.putArray("pair");
    ObjectNode tokens = processor.putObject("special_tokens");
    part(single, pair, 0, bos, tokens);
    sequence(single, "A", 0);
    sequence(pair, "A", 0);
    part(single, pair, 0, eos, tokens);
    part(null, pair, 1, bos, tokens);
    sequence(pair, "B", 1);
    part(null, pair, 1, eos, tokens);
    return processor;
  }

  /** A token and its id. */
  record Special(String content, int id) {}

  private static void part(
      ArrayNode single, ArrayNode pair, int type, Special token, ObjectNode tokens) {
    if (token == null) {
      return;
    }
    if (single != null) {
      special(single, token, type);
    }
    special(pair, token, type);
    ObjectNode entry = tokens.putObject(token.content()).put("id", token.content());
    entry.putArray("ids").add(token.id());
    entry.putArray("tokens").add(token.content());
  }

  private static void special(ArrayNode target, Special token, int type) {
    target.addObject().putObject("SpecialToken").put("id", token.content()).put("type_id", type);
  }

  private static void sequence(ArrayNode target, String name, int type) {
    target.addObject().putObject("Sequence").put("id", name).put("type_id", type);
  }
}
