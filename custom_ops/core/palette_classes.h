// Sorts the rows and the columns of a tensor into classes that share statistics.
#ifndef WL_CORE_PALETTE_CLASSES_H_
#define WL_CORE_PALETTE_CLASSES_H_

#include "core/palette_encode.h"
#include "core/palette_model.h"

namespace wl {

// The classes, without shares, that make the blob smallest of those tried; none where none pays.
// Rows of `row_length`, 1 .. num_weights.
PaletteModel fit_classes(const PaletteSpec& spec, uint32_t row_length);

}  // namespace wl

#endif  // WL_CORE_PALETTE_CLASSES_H_
