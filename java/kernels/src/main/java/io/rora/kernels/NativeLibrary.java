package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import java.io.File;
import java.io.IOException;
import java.net.URL;
import org.bytedeco.javacpp.Loader;

/** Loads the native library, or says why it cannot be loaded. */
final class NativeLibrary {
  private NativeLibrary() {}

  /** Loads the library if that has not happened yet. */
  static void load() {
    load(Rora.class);
  }

  /** Loads what {@code bindings} needs; tests pass a class whose library does not exist. */
  static void load(Class<?> bindings) {
    try {
      Loader.load(bindings);
    } catch (LinkageError | RuntimeException e) {
      throw new RoraException(
          RoraException.Reason.NOT_LOADED,
          "rora's native library cannot be loaded on "
              + Loader.getPlatform()
              + ": "
              + rootMessage(e)
              + ". Build rora on this machine (mvn package) if this platform is not in the jar, or"
              + " name a writable folder for unpacking: -Dorg.bytedeco.javacpp.cachedir=DIR",
          e);
    }
  }

  /**
   * Unpacks the library of a device's backend, if the jar has one for this platform, and tells the
   * loaded library where it is.
   */
  static void unpackBackend(String kind) {
    String name = Loader.getPlatform() + "/librora_" + kind + ".so";
    URL resource = Rora.class.getResource(name);
    if (resource == null) {
      return; // it may stand beside librora.so, or in the folder that was named
    }
    try {
      File file = Loader.cacheResource(resource);
      check(Rora.rora_backend_folder(file.getParent()));
    } catch (IOException e) {
      throw new RoraException(
          RoraException.Reason.NOT_LOADED,
          name
              + " cannot be unpacked: "
              + rootMessage(e)
              + ". Name a writable folder: -Dorg.bytedeco.javacpp.cachedir=DIR",
          e);
    }
  }

  private static String rootMessage(Throwable failure) {
    Throwable root = failure;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    String message = root.getMessage();
    if (message == null) {
      return root.getClass().getName();
    }
    return message.strip().replace('\n', ' ').replaceFirst("\\.$", "");
  }
}
