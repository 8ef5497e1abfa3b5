/**
 * Training: options, the loop, its schedule, its optimiser, and what it must know of the machine.
 */
package io.rora.train;
