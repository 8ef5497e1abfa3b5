/** Files as such: durable writing, positioned reading, and how numbers stand in them. */
package io.rora.files;
