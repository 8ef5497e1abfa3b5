package io.rora.cli.quickstart;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;

/**
 * People, each tied to four different towns, and the two kinds of text about them: statements for
 * pretraining, in which every fact stands in several forms, and multiple-choice questions for
 * fine-tuning, written as LLM-Adapters writes its commonsense tasks. The four options of a question
 * are that person's own towns, so knowing the person is not enough: a model that does not know what
 * the question asks for is right one time in four.
 *
 * <p>Training asks about one half of the people, the held-out questions about the other: the facts
 * that answer those stand in the pretraining text alone. Everything follows from the seed, by
 * {@link Random}, whose numbers its documentation fixes.
 */
final class ToyWorld {
  private static final List<Relation> RELATIONS = List.of(Relation.values());
  private static final String[] STARTS =
      "b d f g h k l m n p r s t v z br dr kl st tr".split(" ", -1);
  private static final String[] VOWELS = "a e i o u".split(" ", -1);
  private static final String[] NAME_ENDS = {"", "n", "l", "r", "s"};
  private static final String[] STEM_ENDS = {"", "n", "l", "r", "m"};
  private static final String[] TOWN_ENDS = {"burg", "ford", "ham", "stad", "ville", "ton"};

  private final long seed;
  private final List<String> people;
  private final Map<String, Map<Relation, String>> towns;

  private ToyWorld(long seed, List<String> people, Map<String, Map<Relation, String>> towns) {
    this.seed = seed;
    this.people = people;
    this.towns = towns;
  }

  /**
   * Makes a world.
   *
   * @param seed the same seed gives the same world
   * @param people how many people, an even number
   * @param towns how many towns, at least four
   */
  static ToyWorld create(long seed, int people, int towns) {
    Random random = new Random(seed);
    Set<String> taken = new HashSet<>();
    List<String> names = new ArrayList<>();
    while (names.size() < people) {
      addNew(
          names, taken, capitalized(syllable(random) + syllable(random) + pick(NAME_ENDS, random)));
    }
    List<String> places = new ArrayList<>();
    while (places.size() < towns) {
      String stem = syllable(random) + pick(STEM_ENDS, random);
      addNew(places, taken, capitalized(stem + pick(TOWN_ENDS, random)));
    }
    Map<String, Map<Relation, String>> facts = new LinkedHashMap<>();
    for (String name : names) {
      facts.put(name, fourTowns(places, random));
    }
    return new ToyWorld(seed, List.copyOf(names), facts);
  }

  private static void addNew(List<String> words, Set<String> taken, String word) {
    if (taken.add(word)) {
      words.add(word);
    }
  }

  private static String syllable(Random random) {
    return pick(STARTS, random) + pick(VOWELS, random);
  }

  private static String pick(String[] words, Random random) {
    return words[random.nextInt(words.length)];
  }

  private static String capitalized(String word) {
    return Character.toUpperCase(word.charAt(0)) + word.substring(1);
  }

  private static Map<Relation, String> fourTowns(List<String> places, Random random) {
    Set<String> chosen = new LinkedHashSet<>();
    while (chosen.size() < Relation.values().length) {
      chosen.add(places.get(random.nextInt(places.size())));
    }
    Map<Relation, String> facts = new EnumMap<>(Relation.class);
    var town = chosen.iterator();
    for (Relation relation : Relation.values()) {
      facts.put(relation, town.next());
    }
    return facts;
  }

  /** All people; questions for training ask about the first half. */
  List<String> people() {
    return people;
  }

  /** The town that a fact names. */
  String town(String person, Relation relation) {
    return towns.get(person).get(relation);
  }

  /** The towns of one person, one for each relation. */
  List<String> townsOf(String person) {
    return List.copyOf(towns.get(person).values());
  }

  /**
   * Pretraining text: rows of four facts each, people, relations and forms drawn at random.
   *
   * @param rows how many
   */
  List<String> text(int rows) {
    Random random = new Random(seed + 1);
    List<String> text = new ArrayList<>(rows);
    for (int i = 0; i < rows; i++) {
      List<String> sentences = new ArrayList<>();
      for (int s = 0; s < 4; s++) {
        sentences.add(statement(random));
      }
      text.add(String.join(" ", sentences));
    }
    return text;
  }

  private String statement(Random random) {
    String person = people.get(random.nextInt(people.size()));
    Relation relation = RELATIONS.get(random.nextInt(RELATIONS.size()));
    String form = relation.statements().get(random.nextInt(relation.statements().size()));
    return String.format(form, person, town(person, relation));
  }

  /** Questions about the first half of the people. */
  List<Question> trainingQuestions() {
    return questions(people.subList(0, people.size() / 2), new Random(seed + 2));
  }

  /** Questions about the second half, whose facts stand in the pretraining text alone. */
  List<Question> heldOutQuestions() {
    return questions(people.subList(people.size() / 2, people.size()), new Random(seed + 3));
  }

  private List<Question> questions(List<String> about, Random random) {
    List<Question> questions = new ArrayList<>();
    for (String person : about) {
      for (Relation relation : Relation.values()) {
        for (String form : relation.questions()) {
          List<String> options = new ArrayList<>(townsOf(person));
          shuffle(options, random);
          int right = options.indexOf(town(person, relation));
          questions.add(new Question(String.format(form, person), options, right));
        }
      }
    }
    return questions;
  }

  /**
   * The same questions with the right answer drawn at random: there is nothing left to learn.
   *
   * @param questions left as they are
   */
  static List<Question> withShuffledAnswers(List<Question> questions, long seed) {
    Random random = new Random(seed);
    return questions.stream()
        .map(q -> new Question(q.text(), q.options(), random.nextInt(q.options().size())))
        .toList();
  }

  private static void shuffle(List<String> list, Random random) {
    for (int i = list.size() - 1; i > 0; i--) {
      int j = random.nextInt(i + 1);
      String swapped = list.get(i);
      list.set(i, list.get(j));
      list.set(j, swapped);
    }
  }
}
