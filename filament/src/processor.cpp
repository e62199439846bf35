// Which table of kernels this processor can run.
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdlib>
#include <cstring>
#include <string>

#include "error.hpp"
#include "kernels.hpp"

namespace filament {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx2Vnni, kAvx512, kAvx512Vnni;
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

namespace {

std::vector<const Kernels*> usable() {
    std::vector<const Kernels*> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2_here =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    const bool avx512_here = avx2_here && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512_here && __builtin_cpu_supports("avx512vnni")) found.push_back(&kAvx512Vnni);
    if (avx512_here) found.push_back(&kAvx512);
    if (avx2_here && __builtin_cpu_supports("avxvnni")) found.push_back(&kAvx2Vnni);
    if (avx2_here) found.push_back(&kAvx2);
#elif defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long needed = HWCAP_ASIMDDP | HWCAP_FPHP | HWCAP_ASIMDHP;  // what CMakeLists.txt compiles for
    if ((::getauxval(AT_HWCAP) & needed) == needed) found.push_back(&kNeon);
#elif defined(__aarch64__)
    found.push_back(&kNeon);
#endif
    found.push_back(&kPortable);
    return found;
}

}  // namespace

std::vector<const char*> available() {
    std::vector<const char*> names;
    for (const Kernels* table : usable()) names.push_back(table->name);
    return names;
}

const Kernels& kernels(const char* name) {
    std::string known;
    for (const Kernels* table : usable()) {
        if (std::strcmp(table->name, name) == 0) return *table;
        known += std::string(known.empty() ? "" : ", ") + table->name;
    }
    throw Error(std::string("no kernels for ") + name + " here; there are: " + known);
}

const Kernels& kernels() {
    if (const char* wanted = std::getenv("FILAMENT_ISA")) return kernels(wanted);
    return *usable().front();
}

}  // namespace filament
