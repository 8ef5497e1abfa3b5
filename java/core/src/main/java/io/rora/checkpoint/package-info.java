/** The directory of a training run: metrics, checkpoints, and what resuming needs of them. */
package io.rora.checkpoint;
