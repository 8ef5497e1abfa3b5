package io.rora.adapter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.files.FileFormatException;
import io.rora.kernels.ScalingRule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AdapterConfigTest {
  private static final String Q0 = "model.layers.0.self_attn.q_proj";
  private static final String Q1 = "model.layers.1.self_attn.q_proj";
  private static final String Q11 = "model.layers.11.self_attn.q_proj";
  private static final String UP1 = "model.layers.1.mlp.up_proj";

  @TempDir Path folder;

  private AdapterConfig read(String fields) throws IOException {
    Path file = folder.resolve(AdapterConfig.FILE);
    Files.writeString(file, "{\"peft_type\": \"LORA\"" + fields + "}");
    return AdapterConfig.read(file);
  }

  private AdapterConfig plain(String more) throws IOException {
    return read(", \"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\"]" + more);
  }

  @Test
  void patternsThatWouldTakeForEverAreRefused() throws IOException {
    AdapterConfig config = plain(", \"rank_pattern\": {\"(([a-z._0-9]+)+)+!\": 4}");
    var error = assertThrows(IllegalArgumentException.class, () -> config.module(Q0, 4, 4));
    assertTrue(error.getMessage().contains("takes too long"), error.getMessage());
  }

  @Test
  void whatPeftWritesIsRead() throws IOException {
    AdapterConfig config =
        plain(
            ", \"use_rslora\": true, \"use_dora\": true, \"bias\": \"none\","
                + " \"lora_dropout\": 0.05, \"alora_invocation_tokens\": null, \"arrow_config\":"
                + " null, \"auto_mapping\": null, \"base_model_name_or_path\": \"some/model\","
                + " \"corda_config\": null, \"ensure_weight_tying\": false, \"eva_config\": null,"
                + " \"exclude_modules\": null, \"fan_in_fan_out\": false, \"inference_mode\": true,"
                + " \"init_lora_weights\": true, \"kasa_config\": null, \"layer_replication\": null,"
                + " \"layers_pattern\": null, \"layers_to_transform\": null, \"loftq_config\": {},"
                + " \"lora_bias\": false, \"megatron_config\": null, \"megatron_core\":"
                + " \"megatron.core\", \"modules_to_save\": null, \"peft_version\": \"0.21.0\","
                + " \"qalora_group_size\": 16, \"rank_pattern\": {}, \"alpha_pattern\": {},"
                + " \"revision\": null, \"target_parameters\": null, \"task_type\": \"CAUSAL_LM\","
                + " \"trainable_token_indices\": null, \"use_bdlora\": null, \"use_qalora\": false");
    assertEquals(ScalingRule.RORA, config.scaling());
    assertTrue(config.dora());
    assertEquals(8, config.rank());
    assertEquals(16, config.alpha());
    assertEquals(0.05, config.dropout());
    assertEquals("some/model", config.baseModel());
  }

  @Test
  void aWholeAlphaMayBeWrittenAsADecimal() throws IOException {
    AdapterConfig config =
        read(", \"r\": 8, \"lora_alpha\": 16.0, \"target_modules\": [\"q_proj\"]");
    assertEquals(16, config.alpha());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "bias | \"all\"",
        "modules_to_save | [\"lm_head\"]",
        "fan_in_fan_out | true",
        "init_lora_weights | \"pissa\"",
        "init_lora_weights | \"olora\"",
        "init_lora_weights | 3",
        "layer_replication | [[0, 1]]",
        "lora_bias | true",
        "use_qalora | true",
        "use_bdlora | {\"a\": 1}",
        "alora_invocation_tokens | [1]",
        "trainable_token_indices | [1]",
        "target_parameters | [\"x\"]",
        "arrow_config | {\"top_k\": 2}",
        "rora_keep_sparsity | true",
        "task_type | \"SEQ_CLS\"",
        "some_future_field | 7",
        "peft_version | 7",
        "inference_mode | \"yes\"",
        "use_rslora | \"true\"",
        "use_dora | 1",
        "lora_dropout | \"0.1\"",
        "lora_dropout | 1.5",
        "rank_pattern | {\"q_proj\": \"8\"}",
        "rank_pattern | {\"q_proj\": 0}",
        "rank_pattern | {\"q_proj(\": 8}",
        "rank_pattern | []",
        "alpha_pattern | {\"q_proj\": true}",
        "layers_to_transform | \"1\"",
        "exclude_modules | 5",
        "revision | 5",
        "base_model_name_or_path | 5"
      })
  void whatWouldChangeTheResultOrHasAnotherTypeIsRefusedByName(String field, String value) {
    FileFormatException e =
        assertThrows(
            FileFormatException.class, () -> plain(", \"" + field + "\": " + value), field);
    assertTrue(e.getMessage().contains(field.replace("lora_dropout", "dropout")), e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        ", \"r\": 8, \"target_modules\": [\"q_proj\"]",
        ", \"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]",
        ", \"r\": 8, \"lora_alpha\": 8",
        ", \"r\": 8.5, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]",
        ", \"r\": 0, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]",
        ", \"r\": 8, \"lora_alpha\": \"8\", \"target_modules\": [\"q_proj\"]",
        ", \"r\": 8, \"lora_alpha\": -8, \"target_modules\": [\"q_proj\"]",
        ", \"r\": 8, \"lora_alpha\": 8, \"target_modules\": []",
        ", \"r\": 8, \"lora_alpha\": 8, \"target_modules\": [\"lm_head\"]",
        ", \"r\": 8, \"lora_alpha\": 8, \"target_modules\": \"q_proj(\"",
        ", \"r\": 8, \"r\": 9, \"lora_alpha\": 8, \"target_modules\": [\"q_proj\"]"
      })
  void missingOrWrongBasicsAreRefused(String fields) {
    assertThrows(FileFormatException.class, () -> read(fields));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "[\"q_proj\"] | true | true | false",
        "[\"self_attn.q_proj\"] | true | true | false",
        "[\"proj\"] | false | false | false",
        "[\"model.layers.1.self_attn.q_proj\"] | false | true | false",
        "\".*layers.1.*\" | false | true | true",
        "\"q_proj\" | false | false | false",
        "\"all-linear\" | true | true | true"
      })
  void targetsAreNamesSuffixesOrARegex(String targets, boolean q0, boolean q1, boolean up1)
      throws IOException {
    TargetModules modules =
        read(", \"r\": 8, \"lora_alpha\": 8, \"target_modules\": " + targets).targets();
    assertEquals(q0, modules.contains(Q0), Q0);
    assertEquals(q1, modules.contains(Q1), Q1);
    assertEquals(up1, modules.contains(UP1), UP1);
  }

  @Test
  void exclusionsAndLayersRestrictTheTargets() throws IOException {
    TargetModules excluded =
        plain(", \"exclude_modules\": [\"layers.0.self_attn.q_proj\"]").targets();
    assertFalse(excluded.contains(Q0));
    assertTrue(excluded.contains(Q1));
    assertFalse(plain(", \"exclude_modules\": \".*layers.1.self.*\"").targets().contains(Q1));
    TargetModules layers =
        plain(", \"layers_to_transform\": [1, 3], \"layers_pattern\": \"layers\"").targets();
    assertFalse(layers.contains(Q0));
    assertTrue(layers.contains(Q1));
    assertFalse(layers.contains(Q11));
    assertTrue(plain(", \"layers_to_transform\": 11").targets().contains(Q11));
    assertFalse(
        plain(", \"layers_to_transform\": 11, \"layers_pattern\": [\"blocks\"]")
            .targets()
            .contains(Q11));
  }

  // The measured values of research on PEFT: rslora, alpha 16.
  @Test
  void patternsSetRankAndAlphaOfEachModule() throws IOException {
    AdapterConfig config =
        plain(
            ", \"use_rslora\": true, \"rank_pattern\": {\"v_proj\": 2, \"down_proj\": 4},"
                + " \"alpha_pattern\": {\"v_proj\": 4}");
    assertEquals(16 / Math.sqrt(8), config.module(Q0, 4, 4).gamma(), 1e-12);
    assertEquals(
        4 / Math.sqrt(2), config.module("model.layers.0.self_attn.v_proj", 4, 4).gamma(), 1e-12);
    assertEquals(8, config.module("model.layers.0.mlp.down_proj", 4, 4).gamma(), 1e-12);
  }

  @Test
  void theFirstKeyThatMatchesWinsAlsoAfterSaving() throws IOException {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    ranks.put("layers\\.1\\..*", 3);
    ranks.put("q_proj", 5);
    ranks.put("a.*|.*1.self_attn.q_proj", 7);
    AdapterConfig config = plain("").withPatterns(ranks, Map.of());
    assertEquals(3, config.module(Q1, 4, 4).rank());
    assertEquals(5, config.module(Q0, 4, 4).rank());
    assertEquals(8, config.module("model.layers.0.xq_proj", 4, 4).rank());
    List<AdapterModule> modules =
        List.of(config.module(Q0, 4, 4), config.module(Q1, 4, 4), config.module(Q11, 4, 4));
    Path file = folder.resolve(AdapterConfig.FILE);
    Files.writeString(file, AdapterFiles.json(config, modules));
    AdapterConfig again = AdapterConfig.read(file);
    for (AdapterModule module : modules) {
      assertEquals(module, again.module(module.path(), 4, 4));
    }
  }

  @Test
  void theFileIsSortedAndIndentedAsPeftsIs() throws IOException {
    AdapterConfig config = plain(", \"use_rslora\": true").withBaseModel("base");
    String json = AdapterFiles.json(config, List.of(config.module(Q0, 4, 4)));
    assertTrue(
        json.startsWith(
            "{\n  \"alpha_pattern\": {},\n  \"base_model_name_or_path\": \"base\",\n  \"bias\":"),
        json);
    assertTrue(json.contains("\n  \"lora_alpha\": 16,\n"), json);
    assertTrue(json.contains("\n  \"target_modules\": [\n    \"q_proj\"\n  ],\n"), json);
    assertTrue(json.endsWith("\n  \"use_rslora\": true\n}\n"), json);
  }

  @Test
  void aDoubledConfigurationKeepsEveryGamma() throws IOException {
    for (boolean rslora : new boolean[] {false, true}) {
      AdapterConfig config =
          plain(
              ", \"use_rslora\": "
                  + rslora
                  + ", \"rank_pattern\": {\"up_proj\": 3}, \"alpha_pattern\": {\"q_proj\": 5}");
      for (String path : List.of(Q0, UP1)) {
        AdapterModule module = config.module(path, 4, 4);
        AdapterModule twice = config.doubled().module(path, 4, 4);
        assertEquals(2 * module.rank(), twice.rank());
        assertEquals(module.gamma(), twice.gamma(), 1e-12);
      }
    }
  }

  @Test
  void targetsThatTheModelDoesNotHaveAreRefused() throws Exception {
    ModelConfig model =
        ModelConfig.fromHuggingFace(
            Path.of(getClass().getResource("/golden/dora/model/config.json").toURI()));
    AdapterConfig config =
        read(", \"r\": 8, \"lora_alpha\": 8, \"target_modules\": [\"query_key_value\"]");
    assertThrows(IllegalArgumentException.class, () -> config.modules(model));
    assertEquals(2, plain("").modules(model).size());
  }
}
