/** The GGUF format: metadata, tensors and the dequantisation of their blocks. */
package io.rora.gguf;
