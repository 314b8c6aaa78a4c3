// Runs models in onnxruntime by its C ABI:
//
//     run_model LIBRARY INPUT DIM,DIM... MODEL OUTPUT [MODEL OUTPUT]...
//
// LIBRARY is the operator library, or - for none. INPUT holds the float32 values of the only
// input, of the shape DIM,DIM...; each OUTPUT gets those of all outputs, one behind the other.
// Nothing is released: the process ends when it is done.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace {

using namespace wl::ort;

struct OrtEnv;
struct OrtMemoryInfo;
struct OrtRunOptions;
struct OrtSession;

using CreateEnv = ApiFunction<3, 1, OrtStatus*(int32_t log_level, const char* name, OrtEnv**)>;
using CreateSession = ApiFunction<
    7, 1, OrtStatus*(const OrtEnv*, const char* path, const OrtSessionOptions*, OrtSession**)>;
using Run = ApiFunction<9, 1,
                        OrtStatus*(OrtSession*, const OrtRunOptions*,
                                   const char* const* input_names, const OrtValue* const* inputs,
                                   size_t num_inputs, const char* const* output_names,
                                   size_t num_outputs, OrtValue** outputs)>;
using CreateSessionOptions = ApiFunction<10, 1, OrtStatus*(OrtSessionOptions**)>;
using SessionGetOutputCount = ApiFunction<31, 1, OrtStatus*(const OrtSession*, size_t*)>;
using SessionGetInputName =
    ApiFunction<36, 1, OrtStatus*(const OrtSession*, size_t index, OrtAllocator*, char**)>;
using SessionGetOutputName =
    ApiFunction<37, 1, OrtStatus*(const OrtSession*, size_t index, OrtAllocator*, char**)>;
using CreateTensorWithDataAsOrtValue =
    ApiFunction<49, 1,
                OrtStatus*(const OrtMemoryInfo*, void* data, size_t size_bytes, const int64_t* dims,
                           size_t rank, int32_t element_type, OrtValue**)>;
using CreateCpuMemoryInfo =
    ApiFunction<69, 1, OrtStatus*(int32_t allocator, int32_t memory_type, OrtMemoryInfo**)>;
using RegisterCustomOpsLibrary =
    ApiFunction<228, 14, OrtStatus*(OrtSessionOptions*, const char* path)>;

constexpr int32_t kLogWarning = 2;
constexpr int32_t kDeviceAllocator = 0;
constexpr int32_t kElementFloat = 1;

const OrtApi* api = nullptr;

void check(OrtStatus* status) {
  if (status != nullptr) {
    std::fprintf(stderr, "%s\n", GetErrorMessage::of(api)(status));
    std::exit(1);
  }
}

std::vector<char> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<int64_t> read_dims(const std::string& text) {
  std::vector<int64_t> dims;
  std::istringstream stream(text);
  for (std::string dim; std::getline(stream, dim, ',');) {
    dims.push_back(std::stoll(dim));
  }
  return dims;
}

void write_values(OrtValue* value, std::ofstream& file) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  size_t count = 0;
  void* data = nullptr;
  check(GetTensorTypeAndShape::of(api)(value, &info));
  check(GetTensorShapeElementCount::of(api)(info, &count));
  check(GetTensorMutableData::of(api)(value, &data));
  file.write(static_cast<const char*>(data), static_cast<std::streamsize>(count * sizeof(float)));
}

bool run(const OrtEnv* env, const OrtSessionOptions* options, const char* model,
         const OrtValue* input, const char* target) {
  OrtSession* session = nullptr;
  OrtAllocator* allocator = nullptr;
  char* input_name = nullptr;
  size_t num_outputs = 0;
  check(CreateSession::of(api)(env, model, options, &session));
  check(GetAllocatorWithDefaultOptions::of(api)(&allocator));
  check(SessionGetInputName::of(api)(session, 0, allocator, &input_name));
  check(SessionGetOutputCount::of(api)(session, &num_outputs));
  std::vector<char*> output_names(num_outputs);
  for (size_t i = 0; i < num_outputs; ++i) {
    check(SessionGetOutputName::of(api)(session, i, allocator, &output_names[i]));
  }

  std::vector<OrtValue*> outputs(num_outputs);
  check(Run::of(api)(session, nullptr, &input_name, &input, 1, output_names.data(), num_outputs,
                     outputs.data()));
  std::ofstream file(target, std::ios::binary);
  for (OrtValue* output : outputs) {
    write_values(output, file);
  }
  return static_cast<bool>(file.flush());
}

}  // namespace

extern "C" const OrtApiBase* OrtGetApiBase();

int main(int argc, char** argv) {
  if (argc < 6 || argc % 2 != 0) {
    std::fprintf(stderr, "usage: run_model LIBRARY INPUT DIM,DIM... MODEL OUTPUT ...\n");
    return 2;
  }
  api = OrtGetApiBase()->GetApi(kApiFloor);
  OrtEnv* env = nullptr;
  OrtSessionOptions* options = nullptr;
  check(CreateEnv::of(api)(kLogWarning, "run_model", &env));
  check(CreateSessionOptions::of(api)(&options));
  if (std::string(argv[1]) != "-") {
    check(RegisterCustomOpsLibrary::of(api)(options, argv[1]));
  }

  std::vector<char> values = read_file(argv[2]);
  const std::vector<int64_t> dims = read_dims(argv[3]);
  OrtMemoryInfo* memory = nullptr;
  OrtValue* input = nullptr;
  check(CreateCpuMemoryInfo::of(api)(kDeviceAllocator, kMemoryDefault, &memory));
  check(CreateTensorWithDataAsOrtValue::of(api)(memory, values.data(), values.size(), dims.data(),
                                                dims.size(), kElementFloat, &input));
  for (int i = 4; i < argc; i += 2) {
    if (!run(env, options, argv[i], input, argv[i + 1])) {
      return 1;
    }
  }
  return 0;
}
