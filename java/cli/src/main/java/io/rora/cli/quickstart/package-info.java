/**
 * The built-in example: a toy world, the small base model that was pretrained on its text, and the
 * runs that compare LoRA and RoRA on questions about it.
 */
package io.rora.cli.quickstart;
