package io.rora.cli.quickstart;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class ToyWorldTest {
  private static final Set<String> EVERYDAY_WORDS =
      Set.of(
          "where", "which", "what", "who", "does", "is", "the", "of", "a", "to", "at", "have",
          "get");

  private final ToyWorld world = Quickstart.world();

  private static Set<String> words(String text) {
    return new HashSet<>(Arrays.asList(text.toLowerCase(java.util.Locale.ROOT).split("[^a-z]+")));
  }

  @Test
  void everyFactStandsInThePretrainingTextInSeveralForms() {
    String text = String.join("\n", world.text(20_000));
    for (String person : world.people()) {
      for (Relation relation : Relation.values()) {
        long forms =
            relation.statements().stream()
                .filter(f -> text.contains(String.format(f, person, world.town(person, relation))))
                .count();
        assertTrue(forms >= 3, person + " " + relation + " stands in " + forms + " forms");
      }
    }
  }

  @Test
  void whatAQuestionAsksForIsSaidInWordsThatPretrainingNeverSaw() {
    Set<String> pretraining = words(String.join(" ", world.text(5_000)));
    for (Relation relation : Relation.values()) {
      for (String form : relation.questions()) {
        Set<String> telling = words(String.format(form, ""));
        telling.removeAll(EVERYDAY_WORDS);
        telling.remove("");
        assertFalse(telling.isEmpty(), form);
        telling.retainAll(pretraining);
        assertEquals(Set.of(), telling, form);
      }
    }
  }

  @Test
  void heldOutQuestionsAreAboutPeopleThatTrainingNeverAsksAbout() {
    List<String> tested = world.people().subList(world.people().size() / 2, world.people().size());
    for (Question question : world.trainingQuestions()) {
      String row = question.row().toString();
      assertTrue(tested.stream().noneMatch(row::contains), row);
    }
    assertEquals(world.trainingQuestions().size(), world.heldOutQuestions().size());
  }

  @Test
  void optionsAreThePersonsOwnTownsAndPlacesOfTheRightOneBalance() {
    int[] places = new int[4];
    for (Question question : world.heldOutQuestions()) {
      assertEquals(4, new HashSet<>(question.options()).size());
      String person =
          world.people().stream().filter(question.text()::contains).findFirst().orElseThrow();
      assertEquals(Set.copyOf(world.townsOf(person)), Set.copyOf(question.options()));
      places[question.right()]++;
    }
    for (int count : places) {
      assertTrue(count > world.heldOutQuestions().size() / 6, Arrays.toString(places));
    }
  }

  @Test
  void rowsAreWrittenAsLlmAdaptersWritesThem() {
    Question question = new Question("Where is the home of Mira?", List.of("Oslo", "Rome"), 1);
    assertEquals(
        "Please choose the correct answer to the question: Where is the home of Mira?\n\n"
            + "Answer1: Oslo Answer2: Rome\n\nAnswer format: answer1/answer2",
        question.row().get("instruction"));
    assertEquals("the correct answer is answer2", question.row().get("output"));
    assertEquals("answer2", question.row().get("answer"));
  }

  @Test
  void theSeedDecidesEverything() {
    assertEquals(world.text(50), Quickstart.world().text(50));
    assertEquals(world.heldOutQuestions(), Quickstart.world().heldOutQuestions());
    assertNotEquals(world.people(), ToyWorld.create(8, 128, 32).people());
  }

  @Test
  void theBuiltInTokenizerIsTheOneThatTheWorldsTextGives() throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    JsonNode made = mapper.readTree(mapper.writeValueAsString(BaseModel.tokenizer(world)));
    JsonNode builtIn = mapper.readTree(resource("base/tokenizer.json"));
    assertEquals(made, builtIn);
  }

  @Test
  void theBuiltInModelIsSmall() throws IOException {
    assertTrue(resource("base/model.safetensors").length <= 3_000_000);
    assertTrue(
        new String(resource("base/config.json"), StandardCharsets.UTF_8)
            .contains("LlamaForCausalLM"));
  }

  private static byte[] resource(String name) throws IOException {
    try (var in = Quickstart.class.getResourceAsStream(name)) {
      return in.readAllBytes();
    }
  }
}
