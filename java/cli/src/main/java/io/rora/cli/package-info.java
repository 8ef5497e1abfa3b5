/** The command line: one class per command, thin over {@code rora-core}. */
package io.rora.cli;
