// The loops of a ResponseKernel, on the functions that a target's file has for noise.

typedef uint8_t Bytes __attribute__((vector_size(kWidth)));

inline Floats to_positions(const ResponseCurve& curve, Floats conductances) {
  const Floats last = broadcast(kResponseIntervals - 1.0F);
  // What is not a number becomes the last interval, or the first one.
  const Floats place = greater(lesser(conductances * curve.inverse_step, last), Floats{});
  const Words interval = reinterpret_cast<Words>(__builtin_convertvector(place, Ints));
  return look_up(curve.intercepts, interval) + look_up(curve.slopes, interval) * conductances;
}

// Calls visit(i, size) for vectors of kWidth elements, the last one perhaps with fewer.
template <typename Visit>
inline void for_each_part(uint32_t count, const Visit& visit) {
  uint32_t i = 0;
  for (; i + kWidth <= count; i += kWidth) visit(i, static_cast<uint32_t>(kWidth));
  if (i < count) visit(i, count - i);
}

template <typename Vector, typename T>
inline Vector load_part(const T* at, uint32_t size) {
  if (size == kWidth) return load<Vector>(at);
  Vector vector{};
  __builtin_memcpy(&vector, at, size * sizeof(T));
  return vector;
}

inline void store_part(float* at, Floats vector, uint32_t size) {
  if (size == kWidth) {
    store(at, vector);
  } else {
    __builtin_memcpy(at, &vector, size * sizeof(float));
  }
}

void to_positions(const ResponseCurve& curve, uint32_t count, float* values) {
  for_each_part(count, [&](uint32_t i, uint32_t size) {
    store_part(values + i, to_positions(curve, load_part<Floats>(values + i, size)), size);
  });
}

void to_weights(const WeightScales& scales, const float* positions, uint32_t count,
                float* weights) {
  for_each_part(count, [&](uint32_t i, uint32_t size) {
    Floats low = broadcast(scales.lows[0]);
    Floats span = broadcast(scales.spans[0]);
    if (scales.labels != nullptr) {
      const Words label = __builtin_convertvector(load_part<Bytes>(scales.labels + i, size), Words);
      low = look_up(scales.lows, label);
      span = look_up(scales.spans, label);
    }
    const Floats factor = scales.factors == nullptr ? broadcast(scales.factor)
                                                    : load_part<Floats>(scales.factors + i, size);
    const Floats position = load_part<Floats>(positions + i, size);
    store_part(weights + i, factor * (low + span * position), size);
  });
}
