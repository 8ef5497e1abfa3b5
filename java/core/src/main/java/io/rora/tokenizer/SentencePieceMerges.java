package io.rora.tokenizer;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Turns the scored pieces of a SentencePiece BPE vocabulary into the ranked merges of the
 * tokenizers library. SentencePiece joins the two neighbours whose union has the best score; so a
 * merge is every way to cut a piece into two, ranked by the piece's score.
 */
final class SentencePieceMerges {
  /** A piece and one way to cut it. */
  record Merge(String left, String right, float score, int id, int leftId, int rightId) {}

  private final GgufVocabulary vocabulary;
  private final Map<String, Integer> normal = new HashMap<>();
  private final List<Merge> merges = new ArrayList<>();

  private SentencePieceMerges(GgufVocabulary vocabulary) {
    this.vocabulary = vocabulary;
  }

  /** Returns the merges, best first; pieces of one score in the order of their ids. */
  static List<Merge> of(GgufVocabulary vocabulary) {
    SentencePieceMerges result = new SentencePieceMerges(vocabulary);
    for (int id = 0; id < vocabulary.tokens().size(); id++) {
      if (vocabulary.types().get(id) == GgufVocabulary.TokenType.NORMAL) {
        result.normal.put(vocabulary.tokens().get(id), id);
      }
    }
    result.normal.forEach(result::cut);
    result.merges.sort(
        Comparator.comparingDouble((Merge merge) -> -(double) merge.score())
            .thenComparingInt(Merge::id)
            .thenComparingInt(Merge::leftId)
            .thenComparingInt(Merge::rightId));
    return result.merges;
  }

  private void cut(String piece, int id) {
    int at = 0;
    while (at < piece.length()) {
      at += Character.charCount(piece.codePointAt(at));
      String left = piece.substring(0, at);
      String right = piece.substring(at);
      Integer leftId = normal.get(left);
      Integer rightId = normal.get(right);
      if (leftId != null && rightId != null) {
        merges.add(new Merge(left, right, vocabulary.scores().get(id), id, leftId, rightId));
      }
    }
  }
}
