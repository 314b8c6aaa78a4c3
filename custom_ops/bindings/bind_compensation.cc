// Quantisation of layers: the sweeps over a block of columns, symbol counts, codebook products.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

#include "bindings/bind_status.h"
#include "core/codebook_products.h"
#include "core/compensation.h"
#include "core/line_classes.h"
#include "core/status.h"
#include "core/symbol_counts.h"

namespace nb = nanobind;

namespace wl {

void bind_compensation(nb::module_& module);

namespace {

template <typename T, size_t num_dims>
using Array = nb::ndarray<T, nb::ndim<num_dims>, nb::c_contig, nb::device::cpu>;

using DecideBlock = Status (*)(const ColumnBlock&, const SymbolRates&, const double*, uint32_t,
                               double*, int32_t*, double*);

template <DecideBlock decide>
void decide_columns(Array<double, 3> targets, Array<const double, 3> square, uint64_t first,
                    Array<const double, 1> codebook, Array<const double, 3> rates,
                    Array<const int64_t, 1> row_classes, Array<const int64_t, 1> column_classes,
                    Array<const double, 1> row_weights, uint32_t threads, Array<int32_t, 3> codes,
                    Array<double, 3> errors) {
  const ColumnBlock block{codes.shape(0), codes.shape(1), codes.shape(2), first, targets.shape(2)};
  const SymbolRates symbols{codebook.data(),
                            static_cast<uint32_t>(codebook.size()),
                            rates.data(),
                            static_cast<uint32_t>(rates.shape(0)),
                            static_cast<uint32_t>(rates.shape(1)),
                            row_classes.data(),
                            column_classes.data(),
                            row_weights.data()};
  const size_t num_rows = block.num_groups * block.num_rows;
  if (targets.shape(0) != block.num_groups || targets.shape(1) != block.num_rows ||
      first > block.num_columns || block.width > block.num_columns - first ||
      square.shape(0) != block.num_groups || square.shape(1) != block.width ||
      square.shape(2) != block.width || errors.shape(0) != block.num_groups ||
      errors.shape(1) != block.num_rows || errors.shape(2) != block.num_columns ||
      codebook.size() == 0 || rates.shape(2) != codebook.size() || row_classes.size() != num_rows ||
      row_weights.size() != num_rows || column_classes.size() != block.num_columns) {
    throw nb::value_error("the shapes of a block, its codes and its classes must go together");
  }
  Status status;
  {
    nb::gil_scoped_release release;
    status =
        decide(block, symbols, square.data(), threads, targets.data(), codes.data(), errors.data());
  }
  throw_if_error(status);
}

void count_symbols(Array<const int32_t, 2> codes, Array<const int64_t, 1> classes, bool by_row,
                   uint32_t threads, Array<double, 3> counts) {
  const size_t num_lines = codes.shape(by_row ? 0 : 1);
  if (counts.shape(0) != num_lines || classes.size() != codes.shape(by_row ? 1 : 0)) {
    throw nb::value_error("the shapes of codes, classes and counts must go together");
  }
  const SymbolMatrix matrix{codes.data(), codes.shape(0), codes.shape(1),
                            static_cast<uint32_t>(counts.shape(2))};
  const uint32_t num_classes = static_cast<uint32_t>(counts.shape(1));
  Status status;
  {
    nb::gil_scoped_release release;
    const auto count = by_row ? count_row_symbols : count_column_symbols;
    status = count(matrix, classes.data(), num_classes, threads, counts.data());
  }
  throw_if_error(status);
}

void classify(Array<const double, 3> counts, uint32_t num_classes, uint32_t rounds,
              uint32_t threads, Array<int64_t, 1> classes) {
  if (classes.size() != counts.shape(0) || counts.shape(2) == 0) {
    throw nb::value_error("there must be a class for each line, and a symbol");
  }
  Status status;
  {
    nb::gil_scoped_release release;
    status = classify_lines(counts.data(), counts.shape(0), counts.shape(1), counts.shape(2),
                            num_classes, rounds, threads, classes.data());
  }
  throw_if_error(status);
}

void codebook_products(Array<const int32_t, 3> codes, Array<const double, 1> row_weights,
                       Array<const double, 3> covariance, uint32_t threads,
                       Array<double, 2> products) {
  const size_t num_columns = codes.shape(2);
  if (row_weights.size() != codes.shape(0) * codes.shape(1) ||
      covariance.shape(0) != codes.shape(0) || covariance.shape(1) != num_columns ||
      covariance.shape(2) != num_columns || products.shape(0) != products.shape(1) ||
      num_columns >> 31 != 0) {
    throw nb::value_error("the shapes of codes, weights, covariance and products must go together");
  }
  Status status;
  {
    nb::gil_scoped_release release;
    status = sum_codebook_products(
        codes.data(), row_weights.data(), covariance.data(), codes.shape(0), codes.shape(1),
        num_columns, static_cast<uint32_t>(products.shape(0)), threads, products.data());
  }
  throw_if_error(status);
}

template <DecideBlock decide>
void define_decide(nb::module_& module, const char* name) {
  module.def(name, &decide_columns<decide>, nb::arg("targets").noconvert(),
             nb::arg("square").noconvert(), nb::arg("first"), nb::arg("codebook").noconvert(),
             nb::arg("rates").noconvert(), nb::arg("row_classes").noconvert(),
             nb::arg("column_classes").noconvert(), nb::arg("row_weights").noconvert(),
             nb::arg("threads"), nb::arg("codes").noconvert(), nb::arg("errors").noconvert());
}

}  // namespace

void bind_compensation(nb::module_& module) {
  define_decide<decide_block>(module, "decide_block");
  define_decide<decide_block_again>(module, "decide_block_again");
  module.def("count_symbols", &count_symbols, nb::arg("codes").noconvert(),
             nb::arg("classes").noconvert(), nb::arg("by_row"), nb::arg("threads"),
             nb::arg("counts").noconvert());
  module.def("classify_lines", &classify, nb::arg("counts").noconvert(), nb::arg("num_classes"),
             nb::arg("rounds"), nb::arg("threads"), nb::arg("classes").noconvert());
  module.def("codebook_products", &codebook_products, nb::arg("codes").noconvert(),
             nb::arg("row_weights").noconvert(), nb::arg("covariance").noconvert(),
             nb::arg("threads"), nb::arg("products").noconvert());
}

}  // namespace wl
