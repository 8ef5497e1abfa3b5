/**
 * The LLaMA architecture: its weights, from any of the file formats, and what computes with them.
 */
package io.rora.model;
