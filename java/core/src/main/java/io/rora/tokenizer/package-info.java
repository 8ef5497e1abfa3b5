/** Text to token ids and back, from Hugging Face's tokenizer files or a GGUF file's metadata. */
package io.rora.tokenizer;
