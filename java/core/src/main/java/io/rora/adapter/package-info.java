/** Low-rank adapters: LoRA, RoRA and DoRA, their files in PEFT's layout, and merging. */
package io.rora.adapter;
