/** Training and evaluation rows, the prompts made of them, and the order in which they are used. */
package io.rora.data;
