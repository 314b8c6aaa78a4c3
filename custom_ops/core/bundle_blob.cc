#include "core/bundle_blob.h"

#include <new>

#include "core/bundle_head.h"
#include "core/container.h"

namespace wl {
namespace {

Status damaged(const char* rule, uint64_t tensor) {
  return make_status(StatusCode::kDamaged, "%s, got another in tensor %llu behind byte %zu", rule,
                     static_cast<unsigned long long>(tensor), kContainerHeaderBytes);
}

Status read_heads(const Container& container, BundleView* view) {
  RangeDecoder coder(container.payload, container.payload_size);
  NumberModel count_model;
  uint32_t num_tensors = 0;
  count_model.code(&coder, &num_tensors);
  uint64_t left = container.num_weights;
  if (num_tensors < 1 || num_tensors > kMaxBundleTensors || num_tensors > left) {
    return make_status(StatusCode::kDamaged,
                       "the number of tensors must be from 1 to %u and at most the number of "
                       "weights, got %u at byte %zu",
                       kMaxBundleTensors, num_tensors, kContainerHeaderBytes);
  }
  view->tensors.clear();
  view->head_bits.clear();
  BundleHeadModel model;
  uint64_t position = 0;
  for (uint32_t i = 0; i < num_tensors; ++i) {
    // Those that follow have a weight each at least.
    const uint64_t most = left - (num_tensors - 1 - i);
    BundleTensor tensor;
    const char* rule = model.code(&coder, static_cast<uint32_t>(most), &tensor);
    if (rule != nullptr) return damaged(rule, i);
    left -= tensor.num_weights;
    view->tensors.push_back(std::move(tensor));
    const uint64_t now = coder.position_bits();
    view->head_bits.push_back(now - position);
    position = now;
  }
  if (left != 0)
    return damaged("weights of all tensors must be as many as the header says", num_tensors);
  view->num_weights = container.num_weights;
  view->coder = coder;
  return Status{};
}

}  // namespace

Status parse_bundle(const uint8_t* blob, size_t size, BundleView* view) {
  Container container;
  const Status status = parse_container(blob, size, Codec::kBundle, &container);
  if (!status.ok()) return status;
  if (container.num_weights > kMaxBundleWeights) {
    return make_status(StatusCode::kDamaged,
                       "a bundle's number of weights must be at most %u, got %llu at byte 8",
                       kMaxBundleWeights, static_cast<unsigned long long>(container.num_weights));
  }
  if (container.payload_size == 0 || container.payload[container.payload_size - 1] == 0) {
    return make_status(StatusCode::kDamaged,
                       "the last byte of the payload must not be 0, got 0 at "
                       "byte %zu",
                       kContainerHeaderBytes + container.payload_size);
  }
  try {
    return read_heads(container, view);
  } catch (const std::bad_alloc&) {
    return make_status(StatusCode::kOutOfMemory, "memory ran out while the bundle was read");
  }
}

}  // namespace wl
