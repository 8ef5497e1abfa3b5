package io.rora.benchmarks;

import static org.bytedeco.pytorch.global.torch.ScalarType;

import io.rora.kernels.DataType;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;

/** Tensors from our numbers and back, with as many threads as everybody else has. */
final class Torch {
  private Torch() {}

  /** Sets the threads; the library's default may be another. */
  static void open() {
    torch.set_num_threads(Peers.threads());
  }

  static ScalarType type(DataType type) {
    return type == DataType.F32 ? ScalarType.Float : ScalarType.BFloat16;
  }

  /** A tensor of its own memory with these values. */
  static Tensor tensor(FloatPointer values, DataType type, long... sizes) {
    try (Tensor view = torch.from_blob(values, sizes)) {
      return type == DataType.F32 ? view.clone(new MemoryFormatOptional()) : view.to(type(type));
    }
  }

  /** Zeros. */
  static Tensor zeros(DataType type, long... sizes) {
    try (Tensor floats = torch.zeros(sizes)) {
      return type == DataType.F32
          ? floats.clone(new MemoryFormatOptional())
          : floats.to(type(type));
    }
  }

  /** A vector of ids. */
  static Tensor longs(long[] values) {
    try (LongPointer pointer = new LongPointer(values);
        TensorOptions options = new TensorOptions(ScalarType.Long);
        Tensor view = torch.from_blob(pointer, new long[] {values.length}, options)) {
      return view.clone(new MemoryFormatOptional());
    }
  }

  /** Overwrites all values of a float tensor. */
  static void fill(Tensor tensor, float[] values) {
    tensor.data_ptr_float().put(values);
  }

  /** All values as floats. */
  static float[] array(Tensor tensor) {
    try (Tensor detached = tensor.detach();
        Tensor floats = detached.to(ScalarType.Float);
        Tensor tight = floats.contiguous()) {
      float[] values = new float[Math.toIntExact(tight.numel())];
      tight.data_ptr_float().get(values);
      return values;
    }
  }

  /** The first rows' values as floats. */
  static float[] rows(Tensor tensor, long rows) {
    try (Tensor front = tensor.narrow(0, 0, rows)) {
      return array(front);
    }
  }
}
