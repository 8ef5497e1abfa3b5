/**
 * The configuration of models: their architecture, and strict reading of the JSON that it comes in.
 */
package io.rora.config;
