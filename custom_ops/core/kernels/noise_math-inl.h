// Words and elementary functions on vectors of kWidth lanes, in the namespace of a CPU target,
// which gives, before it includes this:
//   kWidth, a divisor of kGroupLanes
//   Wides multiply_low(Wides a, Wides b): the products of the lower halves
//   Floats square_root(Floats a): rounded to nearest
//   Floats greater(Floats a, Floats b): a > b ? a : b
//   Floats lesser(Floats a, Floats b): a < b ? a : b
//   Floats look_up(const float* table, Words indices)
// on the types of noise_types-inl.h. Every operation is one of IEEE 754 or of integers, in an order
// that the source fixes, so that all targets give the same bits.
//
// Polynomials: least maximum of the relative error on the interval, by iteratively reweighted least
// squares in double precision on Chebyshev points; coefficients then rounded to float32.

inline Floats as_floats(Words words) { return reinterpret_cast<Floats>(words); }
inline Words as_words(Floats floats) { return reinterpret_cast<Words>(floats); }
inline Floats broadcast(float value) { return Floats{} + value; }
inline Floats convert(Ints ints) { return __builtin_convertvector(ints, Floats); }

// ln 2 in two parts; the first has 15 bits, so that its product with an exponent is exact.
constexpr float kLn2High = 0.693145751953125F;
constexpr float kLn2Low = 1.42860677e-6F;

// Philox4x32-10 of blocks [block, block + kWidth). Lanes of 64 bits hold a word in their lower half
// and anything in the upper one: even blocks in one vector, odd ones in another.
inline void philox(const DrawKey& key, uint64_t block, Words words[4]) {
  Wides even[4], odd[4];
  Wides steps{};
  for (int i = 0; i < kWidth / 2; ++i) steps[i] = static_cast<uint64_t>(2 * i);
  even[0] = steps + block;
  odd[0] = even[0] + 1;
  even[1] = odd[1] = Wides{} + (block >> 32);
  even[2] = odd[2] = Wides{} + uint64_t{key.stream};
  even[3] = odd[3] = Wides{} + uint64_t{key.tensor};
  const Wides multiplier0 = Wides{} + uint64_t{0xd2511f53U};
  const Wides multiplier1 = Wides{} + uint64_t{0xcd9e8d57U};
  uint32_t key0 = static_cast<uint32_t>(key.seed);
  uint32_t key1 = static_cast<uint32_t>(key.seed >> 32);
  const auto mix = [&](Wides* counter) {
    const Wides product0 = multiply_low(counter[0], multiplier0);
    const Wides product1 = multiply_low(counter[2], multiplier1);
    counter[0] = (product1 >> 32) ^ counter[1] ^ uint64_t { key0 };
    counter[1] = product1;
    counter[2] = (product0 >> 32) ^ counter[3] ^ uint64_t { key1 };
    counter[3] = product0;
  };
  for (int round = 0; round < 10; ++round) {
    mix(even);
    mix(odd);
    key0 += 0x9e3779b9U;
    key1 += 0xbb67ae85U;
  }
  for (int i = 0; i < 4; ++i) {
    words[i] = reinterpret_cast<Words>((even[i] & uint64_t{0xffffffffU}) | (odd[i] << 32));
  }
}

// ln(x) of normal x > 0.
inline Floats log(Floats x) {
  // x = 2^exponent * (1 + t), 1 + t from sqrt(1/2) to sqrt(2)
  constexpr uint32_t kRootHalf = 0x3f3504f3U;
  const Words bits = as_words(x);
  const Ints exponents = reinterpret_cast<Ints>(bits - kRootHalf) >> 23;
  const Floats exponent = convert(exponents);
  const Floats t = as_floats(bits - reinterpret_cast<Words>(exponents << 23)) - 1.0F;
  const Floats square = t * t;
  Floats sum = broadcast(-0.0763449669F);
  sum = sum * t + 0.127615765F;
  sum = sum * t - 0.131601825F;
  sum = sum * t + 0.142017573F;
  sum = sum * t - 0.166233569F;
  sum = sum * t + 0.200012267F;
  sum = sum * t - 0.250008196F;
  sum = sum * t + 0.333333313F;
  sum = (sum * t - 0.5F) * square + exponent * kLn2Low;
  return exponent * kLn2High + (t + sum);
}

// exp(x), x clipped to -87 .. 88; exactly 1 for 0.
inline Floats exp(Floats x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: what is added to it loses its fraction
  const Floats clipped = lesser(greater(x, broadcast(-87.0F)), broadcast(88.0F));
  const Floats shifted = clipped * 1.44269502F + kRound;
  const Floats whole = shifted - kRound;
  const Floats rest = (clipped - whole * kLn2High) - whole * kLn2Low;
  Floats sum = broadcast(0.00138146128F);
  sum = sum * rest + 0.00836871006F;
  sum = sum * rest + 0.041668389F;
  sum = sum * rest + 0.166665211F;
  sum = sum * rest + 0.49999994F;
  const Floats power = sum * (rest * rest) + rest + 1.0F;
  return as_floats(as_words(power) + (as_words(shifted) << 23));
}

// Box-Muller: radius from one word, angle from another.
inline void normal_pair(Words radius_word, Words angle_word, Floats* first, Floats* second) {
  const Floats uniform =
      (convert(reinterpret_cast<Ints>(radius_word >> 1)) + 0.5F) * 4.65661287e-10F;  // 2^-31
  const Floats radius = square_root(log(uniform) * -2.0F);

  // Quarter turns in the two highest bits, the rest of the angle from -pi/4 to pi/4.
  const Words turned = angle_word + (1U << 29);
  const Ints rest = reinterpret_cast<Ints>(turned & 0x3fffffffU) - (1 << 29);
  // Times pi/2 * 2^-30: twelve bits times twelve bits are exact, what is left is small.
  const Ints high = (rest + (1 << 16)) & -(1 << 17);
  const Floats large = convert(high) * 1.46292223e-09F;
  const Floats small = convert(high) * -4.14853444e-15F + convert(rest - high) * 1.46291812e-09F;
  const Floats angle = large + small;
  const Floats square = angle * angle;
  Floats sine = broadcast(-0.000195172994F);
  sine = sine * square + 0.008332178F;
  sine = sine * square - 0.166666552F;
  sine = (sine * (square * angle) + small) + large;
  Floats cosine = broadcast(2.44331568e-05F);
  cosine = cosine * square - 0.00138873165F;
  cosine = cosine * square + 0.0416666456F;
  const Floats half = square * 0.5F;
  const Floats most = 1.0F - half;  // and (1 - most) - half is what rounding took from it
  cosine = (cosine * (square * square) + ((1.0F - most) - half)) + most;

  // An odd number of quarter turns swaps them; two of them turn a sign.
  const Words is_odd = reinterpret_cast<Words>(reinterpret_cast<Ints>(turned << 1) >> 31);
  const Words swap = (as_words(sine) ^ as_words(cosine)) & is_odd;
  constexpr uint32_t kSign = 1U << 31;
  const Words cosine_sign = (turned + (1U << 30)) & kSign;
  *first = radius * as_floats(as_words(cosine) ^ swap ^ cosine_sign);
  *second = radius * as_floats(as_words(sine) ^ swap ^ (turned & kSign));
}

// Standard normals of the cells of blocks [block, block + kWidth), those of each part together.
inline void draw(const DrawKey& key, uint64_t block, Floats normals[4]) {
  Words words[4];
  philox(key, block, words);
  normal_pair(words[0], words[1], &normals[0], &normals[1]);
  normal_pair(words[2], words[3], &normals[2], &normals[3]);
}
