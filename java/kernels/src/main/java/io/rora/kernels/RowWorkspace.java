package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_row_workspace;

/** The memory that all calls on row-major matrices of one context share. */
final class RowWorkspace extends NativeObject {
  private final rora_row_workspace handle = new rora_row_workspace(null);

  RowWorkspace(RoraContext context) {
    super(context);
    check(Rora.rora_row_workspace_create(context.handle(), handle));
  }

  rora_row_workspace handle() {
    checkOpen();
    return handle;
  }

  @Override
  void release() {
    Rora.rora_row_workspace_destroy(handle);
  }
}
