/** What a model is worth: multiple choice by likelihood or by generation, and perplexity. */
package io.rora.evaluate;
