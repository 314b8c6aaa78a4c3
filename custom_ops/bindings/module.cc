// The compiled module `wl_onnx.kernels._core`: one bind_* function a kernel.
#include <nanobind/nanobind.h>

#include "bindings/bind_status.h"

namespace nb = nanobind;

namespace wl {
void bind_analog(nb::module_& module);
void bind_bloomier(nb::module_& module);
void bind_bundle(nb::module_& module);
void bind_compensation(nb::module_& module);
void bind_kmeans1d(nb::module_& module);
void bind_noise(nb::module_& module);
void bind_palette(nb::module_& module);
}  // namespace wl

NB_MODULE(_core, module) {
  nb::exception<wl::InvalidArgumentError>(module, "InvalidArgumentError", PyExc_ValueError);
  nb::exception<wl::DamagedError>(module, "DamagedError", PyExc_ValueError);
  nb::exception<wl::FailedError>(module, "FailedError", PyExc_RuntimeError);
  wl::bind_analog(module);
  wl::bind_bloomier(module);
  wl::bind_bundle(module);
  wl::bind_compensation(module);
  wl::bind_kmeans1d(module);
  wl::bind_noise(module);
  wl::bind_palette(module);
}
