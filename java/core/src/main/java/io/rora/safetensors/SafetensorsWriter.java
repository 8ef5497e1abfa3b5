package io.rora.safetensors;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import io.rora.files.DurableFiles;
import io.rora.files.FloatFormat;
import io.rora.kernels.DataType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Writes safetensors files as a stream: one tensor after the other is asked for, so that the memory
 * needed does not grow with the file. Use {@link #body} with {@link DurableFiles}.
 */
public final class SafetensorsWriter {
  private static final int CHUNK = 1 << 16;

  private SafetensorsWriter() {}

  /**
   * A tensor to be written.
   *
   * @param name its name, unique in the file
   * @param type its element type
   * @param shape its dimensions, outermost first
   */
  public record Tensor(String name, SafetensorsType type, List<Long> shape) {
    /** Copies the shape and checks that the tensor has whole bytes. */
    public Tensor {
      shape = List.copyOf(shape);
      if (name.equals("__metadata__") || shape.stream().anyMatch(size -> size < 0)) {
        throw new IllegalArgumentException(
            "tensor " + name + " of shape " + shape + " cannot be written");
      }
    }

    /** Returns its size in bytes. */
    public long bytes() {
      long bits = shape.stream().reduce((long) type.bits(), Math::multiplyExact);
      return Math.addExact(bits, 7) / 8;
    }
  }

  /** Gives the values of tensors. */
  @FunctionalInterface
  public interface Source {
    /**
     * Writes all values of {@code tensor}. Tensors are asked for in the order of the file, wider
     * types first.
     */
    void write(Tensor tensor, Output out) throws IOException;
  }

  /** Takes the values of one tensor. */
  public static final class Output {
    private final WritableByteChannel channel;
    private final Tensor tensor;
    private final ByteBuffer chunk;
    private long written;

    private Output(WritableByteChannel channel, Tensor tensor, ByteBuffer chunk) {
      this.channel = channel;
      this.tensor = tensor;
      this.chunk = chunk;
    }

    /** Writes elements as they stand in the file: little-endian. */
    public void write(ByteBuffer elements) throws IOException {
      written += elements.remaining();
      if (written > tensor.bytes()) {
        throw new IllegalStateException(
            tensor + " was given more than its " + tensor.bytes() + " bytes");
      }
      channel.write(elements);
    }

    /** Writes floats, rounded to the tensor's type: F32, or to the nearest even BF16 or F16. */
    public void writeFloats(float[] values, int from, int count) throws IOException {
      DataType type =
          tensor
              .type()
              .dataType()
              .orElseThrow(() -> new IllegalStateException(tensor + " does not hold floats"));
      for (int done = 0; done < count; ) {
        int block = Math.min(count - done, CHUNK / type.bytes());
        chunk.clear();
        for (int i = 0; i < block; i++) {
          FloatFormat.put(chunk, type, values[from + done + i]);
        }
        write(chunk.flip());
        done += block;
      }
    }
  }

  /**
   * Returns the content of a safetensors file.
   *
   * @param metadata free-form strings for the header; transformers wants {@code format: pt}
   * @param tensors what the file holds
   * @param source gives the values
   * @throws IllegalArgumentException if two tensors have one name
   */
  public static DurableFiles.Body body(
      Map<String, String> metadata, Collection<Tensor> tensors, Source source) {
    List<Tensor> inOrder = inOrder(tensors);
    byte[] header = header(metadata, inOrder);
    return out -> {
      ByteBuffer length = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN);
      out.write(length.putLong(0, header.length));
      out.write(ByteBuffer.wrap(header));
      ByteBuffer chunk = ByteBuffer.allocateDirect(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
      for (Tensor tensor : inOrder) {
        Output output = new Output(out, tensor, chunk);
        source.write(tensor, output);
        if (output.written != tensor.bytes()) {
          throw new IllegalStateException(
              tensor + " needs " + tensor.bytes() + " bytes, it was given " + output.written);
        }
      }
    };
  }

  /** Wider types first, so that every tensor is aligned to its elements. */
  private static List<Tensor> inOrder(Collection<Tensor> tensors) {
    List<Tensor> inOrder = new ArrayList<>(tensors);
    inOrder.sort(Comparator.comparingInt((Tensor tensor) -> tensor.type().bits()).reversed());
    Set<String> names = new HashSet<>();
    for (Tensor tensor : inOrder) {
      if (!names.add(tensor.name())) {
        throw new IllegalArgumentException("two tensors are called " + tensor.name());
      }
    }
    return inOrder;
  }

  /**
   * Returns the JSON header, padded with spaces so that the data begins at a multiple of 8 bytes.
   */
  private static byte[] header(Map<String, String> metadata, List<Tensor> tensors) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (JsonGenerator json = new JsonFactory().createGenerator(bytes)) {
      json.writeStartObject();
      if (!metadata.isEmpty()) {
        json.writeObjectFieldStart("__metadata__");
        for (Map.Entry<String, String> entry : metadata.entrySet()) {
          json.writeStringField(entry.getKey(), entry.getValue());
        }
        json.writeEndObject();
      }
      long begin = 0;
      for (Tensor tensor : tensors) {
        writeTensor(json, tensor, begin);
        begin = Math.addExact(begin, tensor.bytes());
      }
      json.writeEndObject();
    } catch (IOException e) {
      throw new IllegalStateException("the header cannot be written: " + e.getMessage(), e);
    }
    while (bytes.size() % Long.BYTES != 0) {
      bytes.write(' ');
    }
    if (bytes.size() > SafetensorsFile.MAX_HEADER_BYTES) {
      throw new IllegalArgumentException(
          "the header would have " + bytes.size() + " bytes: too many tensors");
    }
    return bytes.toByteArray();
  }

  private static void writeTensor(JsonGenerator json, Tensor tensor, long begin)
      throws IOException {
    json.writeObjectFieldStart(tensor.name());
    json.writeStringField("dtype", tensor.type().name());
    json.writeArrayFieldStart("shape");
    for (long size : tensor.shape()) {
      json.writeNumber(size);
    }
    json.writeEndArray();
    json.writeArrayFieldStart("data_offsets");
    json.writeNumber(begin);
    json.writeNumber(begin + tensor.bytes());
    json.writeEndArray();
    json.writeEndObject();
  }
}
