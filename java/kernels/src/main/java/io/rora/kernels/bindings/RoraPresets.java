package io.rora.kernels.bindings;

import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/**
 * Tells JavaCPP how to turn {@code native/include/rora} into the class {@code Rora} of this package
 * at build time. The headers are the only copy of a signature.
 *
 * <p>Overloads that take Java arrays are left out, because JavaCPP copies such arrays on every
 * call: what remains takes a Pointer or a direct buffer. No function throws a C++ exception.
 */
@Properties(
    value =
        @Platform(
            include = {
              "rora/base.h",
              "rora/context.h",
              "rora/weight.h",
              "rora/activation.h",
              "rora/batch.h",
              "rora/adapter.h",
              "rora/linear.h",
              "rora/layers.h",
              "rora/loss.h",
              "rora/optimizer.h",
              "rora/measure.h",
              "rora/rora.h"
            },
            link = "rora"),
    target = "io.rora.kernels.bindings",
    global = "io.rora.kernels.bindings.Rora")
@NoException
public class RoraPresets implements InfoMapper {
  /** JavaCPP makes one while it parses. */
  public RoraPresets() {}

  @Override
  public void map(InfoMap infoMap) {
    infoMap
        .put(new Info("RORA_API").cppTypes().annotations())
        .put(new Info("void").valueTypes("void").pointerTypes("Pointer", "ByteBuffer"))
        .put(new Info("float").valueTypes("float").pointerTypes("FloatPointer", "FloatBuffer"))
        .put(new Info("double").valueTypes("double").pointerTypes("DoublePointer", "DoubleBuffer"))
        .put(new Info("int32_t").cast().valueTypes("int").pointerTypes("IntPointer", "IntBuffer"));
  }
}
