package io.rora.files;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.DataType;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.api.Test;

class FloatFormatTest {
  @Test
  void allHalvesSurviveARoundTrip() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      float value = FloatFormat.fromHalf((short) bits);
      if (Float.isNaN(value)) {
        assertTrue(Float.isNaN(FloatFormat.fromHalf(FloatFormat.toHalf(value))));
      } else {
        assertEquals((short) bits, FloatFormat.toHalf(value), "half " + bits);
      }
    }
  }

  @Test
  void allBfloatsSurviveARoundTrip() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      float value = FloatFormat.fromBfloat16((short) bits);
      if (Float.isNaN(value)) {
        assertTrue(Float.isNaN(FloatFormat.fromBfloat16(FloatFormat.toBfloat16(value))));
      } else {
        assertEquals((short) bits, FloatFormat.toBfloat16(value), "bfloat16 " + bits);
      }
    }
  }

  @Test
  void halvesHaveTheirKnownValues() {
    assertEquals(1f, FloatFormat.fromHalf((short) 0x3c00));
    assertEquals(-2f, FloatFormat.fromHalf((short) 0xc000));
    assertEquals(65504f, FloatFormat.fromHalf((short) 0x7bff));
    assertEquals(0x1p-24f, FloatFormat.fromHalf((short) 1));
    assertEquals(Float.NEGATIVE_INFINITY, FloatFormat.fromHalf((short) 0xfc00));
    assertEquals(-0f, FloatFormat.fromHalf((short) 0x8000));
  }

  @Test
  void betweenTwoHalvesTheNearerIsTakenAndTiesGoToEven() {
    for (int bits = 0; bits < 0x7c00; bits++) {
      float low = FloatFormat.fromHalf((short) bits);
      float high = bits == 0x7bff ? 65536f : FloatFormat.fromHalf((short) (bits + 1));
      float middle = low + (high - low) / 2; // exact: a float has 13 more bits
      assertEquals(bits + (bits & 1), FloatFormat.toHalf(middle), "tie above " + bits);
      assertEquals(bits, FloatFormat.toHalf(Math.nextDown(middle)), "below the tie above " + bits);
      assertEquals(
          bits + 1, FloatFormat.toHalf(Math.nextUp(middle)), "beyond the tie above " + bits);
    }
    assertEquals(0x7c00, FloatFormat.toHalf(Float.MAX_VALUE));
  }

  @Test
  void betweenTwoBfloatsTheNearerIsTakenAndTiesGoToEven() {
    for (int bits = 0; bits < 0x7f80; bits++) {
      int tie = bits << 16 | 0x8000;
      assertEquals(bits + (bits & 1), FloatFormat.toBfloat16(Float.intBitsToFloat(tie)));
      assertEquals(bits, FloatFormat.toBfloat16(Float.intBitsToFloat(tie - 1)));
      assertEquals(bits + 1, FloatFormat.toBfloat16(Float.intBitsToFloat(tie + 1)));
    }
  }

  @Test
  void theFirstValueThatIsNotFiniteIsFound() {
    float[] bad = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY};
    for (DataType type : DataType.values()) {
      for (ByteOrder order : new ByteOrder[] {ByteOrder.LITTLE_ENDIAN, ByteOrder.BIG_ENDIAN}) {
        float largest = type == DataType.F16 ? -65504 : -FloatFormat.fromBfloat16((short) 0x7f7f);
        ByteBuffer values = ByteBuffer.allocate(4 + 11 * type.bytes()).order(order).position(4);
        for (int i = 0; i < 11; i++) {
          FloatFormat.put(values, type, largest);
        }
        assertEquals(-1, FloatFormat.firstNotFinite(values, 4, 11, type));
        for (int i = 0; i < 11; i++) {
          FloatFormat.put(values.position(4 + i * type.bytes()), type, bad[i % 3]);
          assertEquals(i, FloatFormat.firstNotFinite(values, 4, 11, type), type + " at " + i);
          FloatFormat.put(values.position(4 + i * type.bytes()), type, largest);
        }
      }
    }
  }
}
