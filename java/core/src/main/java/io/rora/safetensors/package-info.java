/** The safetensors format: reading with every rule checked, and writing as a stream. */
package io.rora.safetensors;
