// The loops of a NoiseKernel, on noise_math-inl.h.

static_assert(kGroupLanes % kWidth == 0, "a group is whole vectors");

// visit(block, cell) for each vector of blocks: its first block, and the place of that block's
// first cell in the arrays. The other three parts follow kGroupLanes cells apart.
template <typename Visit>
inline void for_each_vector(uint64_t first_group, uint64_t num_groups, const Visit& visit) {
  for (uint64_t group = 0; group < num_groups; ++group) {
    for (uint32_t lane = 0; lane < kGroupLanes; lane += kWidth) {
      visit((first_group + group) * kGroupLanes + lane, group * kGroupCells + lane);
    }
  }
}

void draw_normals(const DrawKey& key, uint64_t first_group, uint64_t num_groups, float* normals) {
  for_each_vector(first_group, num_groups, [&](uint64_t block, uint64_t cell) {
    Floats drawn[4];
    draw(key, block, drawn);
    for (uint32_t part = 0; part < 4; ++part)
      store(normals + cell + part * kGroupLanes, drawn[part]);
  });
}

void read_cells(const DrawKey& key, uint64_t first_group, uint64_t num_groups,
                const float* conductances, const float* deviations, float* reads) {
  for_each_vector(first_group, num_groups, [&](uint64_t block, uint64_t first) {
    Floats drawn[4];
    draw(key, block, drawn);
    for (uint32_t part = 0; part < 4; ++part) {
      const uint64_t cell = first + part * kGroupLanes;
      const Floats read =
          load<Floats>(conductances + cell) + load<Floats>(deviations + cell) * drawn[part];
      store(reads + cell, greater(read, Floats{}));
    }
  });
}

// min(scale / max(y^exponent, floor), cap) times the factor of time, y = conductance / g_max.
inline Floats read_share(const CellProgram& program, Floats conductance) {
  const Floats y = greater(conductance * program.inverse_g_max, broadcast(1e-30F));
  const Floats power = exp(log(y) * program.exponent);
  const Floats share = program.scale / greater(power, broadcast(program.floor));
  return lesser(share, broadcast(program.cap)) * program.time_factor;
}

inline Floats magnitude(Floats x) { return as_floats(as_words(x) & 0x7fffffffU); }

void program_cells(const CellProgram& program, uint64_t first_group, uint64_t num_groups,
                   const uint16_t* levels, float* conductances, float* deviations) {
  for_each_vector(first_group, num_groups, [&](uint64_t block, uint64_t first) {
    Floats programming[4], drift[4];
    draw(program.programming, block, programming);
    if (program.has_drift) draw(program.drift, block, drift);
    for (uint32_t part = 0; part < 4; ++part) {
      const uint64_t cell = first + part * kGroupLanes;
      const Words level = __builtin_convertvector(load<Halves>(levels + cell), Words);
      const Floats programmed = greater(
          look_up(program.mean, level) + look_up(program.deviation, level) * programming[part],
          Floats{});
      Floats conductance = programmed;
      if (program.has_drift) {
        const Floats exponent = magnitude(look_up(program.drift_mean, level) +
                                          look_up(program.drift_deviation, level) * drift[part]);
        conductance = conductance * exp(exponent * -program.log_time);
      }
      Floats deviation = look_up(program.read_deviation, level);
      if (program.has_read_share) {
        deviation = conductance * read_share(program, programmed) + deviation;
      }
      store(conductances + cell, conductance);
      store(deviations + cell, deviation);
    }
  });
}
