package io.rora.train;

import io.rora.adapter.AdapterModule;
import java.util.List;

/**
 * What a run is about to do.
 *
 * @param firstStep the first step of this process, from 1; above {@code steps} if nothing is left
 * @param steps steps of the whole run
 * @param rows rows of the data
 * @param modules the adapted modules with rank and gamma; empty with full fine-tuning
 * @param parameters trained values
 * @param microBatchSize rows computed at once
 * @param checkpointing what is recomputed
 * @param estimate bytes that the process is expected to take at its peak
 */
public record TrainStart(
    int firstStep,
    int steps,
    int rows,
    List<AdapterModule> modules,
    long parameters,
    int microBatchSize,
    String checkpointing,
    long estimate) {}
