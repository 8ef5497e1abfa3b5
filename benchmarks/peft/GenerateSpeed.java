import io.rora.generate.Generation;
import io.rora.generate.GenerationOptions;
import io.rora.generate.Generator;
import io.rora.generate.TextListener;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import io.rora.tokenizer.Tokenizer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/**
 * Times how a model reads a prompt and generates after it, greedily, without the time to load it:
 *
 * <pre>java -cp rora.jar GenerateSpeed.java MODEL F32|BF16 IDS_FILE NEW_TOKENS RUNS</pre>
 *
 * <p>The file holds the prompt's ids, separated by spaces. The first run warms up. Each further one
 * prints a JSON line: seconds of the prompt up to the first token's logits, seconds after that, the
 * passes through the model in these (one for each token but the first), and the tokens' ids.
 */
public final class GenerateSpeed {
  private static final double NANOS = 1e9;

  private GenerateSpeed() {}

  public static void main(String[] args) throws Exception {
    Path path = Path.of(args[0]);
    DataType type = DataType.valueOf(args[1]);
    String[] words = Files.readString(Path.of(args[2])).trim().split("\\s+");
    int[] prompt = new int[words.length];
    for (int i = 0; i < prompt.length; i++) {
      prompt[i] = Integer.parseInt(words[i]);
    }
    GenerationOptions options = GenerationOptions.greedy(Integer.parseInt(args[3]));
    int runs = Integer.parseInt(args[4]);
    try (WeightSource source = WeightSource.open(path);
        Tokenizer tokenizer = Tokenizer.open(path);
        RoraContext context = RoraContext.open("cpu", 0);
        LlamaModel model = LlamaModel.load(context, source, type);
        Generator generator = new Generator(model, tokenizer)) {
      generator.generate(prompt, options, TextListener.none());
      for (int run = 0; run < runs; run++) {
        System.out.println(timed(generator, tokenizer, prompt, options));
      }
    }
  }

  private static String timed(
      Generator generator, Tokenizer tokenizer, int[] prompt, GenerationOptions options) {
    Clock clock = new Clock();
    long begin = System.nanoTime();
    Generation generation = generator.generate(prompt, options, clock);
    long end = System.nanoTime();
    boolean stopped = generation.end() == Generation.End.STOP_TOKEN;
    int passes = generation.tokenIds().size() - (stopped ? 0 : 1);
    return String.format(
        Locale.ROOT,
        "{\"prompt_seconds\": %.6f, \"seconds\": %.6f, \"passes\": %d, \"ids\": %s}",
        (clock.promptRead - begin) / NANOS,
        (end - clock.promptRead) / NANOS,
        passes,
        generation.tokenIds());
  }

  /** Notes when the prompt has been read. */
  private static final class Clock implements TextListener {
    private long promptRead;

    @Override
    public void onPrompt(int tokens) {
      promptRead = System.nanoTime();
    }

    @Override
    public boolean onText(String piece) {
      return true;
    }
  }
}
