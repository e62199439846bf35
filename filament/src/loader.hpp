// Reads a model from its file: sizes, layers, matrices. What differs between architectures is here and nowhere else.
#pragma once

#include <string>
#include <vector>

#include "linears.hpp"
#include "model.hpp"

namespace filament {

struct Architecture;

class Loader {
  public:
    explicit Loader(Model& model) : model_(model), file_(model.file()), linears_(model.file()) {}
    // Throws Error for a file that is damaged or not understood.
    void load();

  private:
    void read_sizes();
    void read_mixers(size_t layers);
    void read_heads(size_t layers);
    void read_ropes();
    void read_windows(size_t layers);
    Layer read_layer(size_t index);
    std::unique_ptr<Mixer> read_mixer(size_t index, const std::string& prefix);
    std::unique_ptr<Mixer> read_mlgru(size_t index, const std::string& prefix);
    std::unique_ptr<Mixer> read_attention(size_t index, const std::string& prefix);
    std::unique_ptr<Branch> read_feed_forward(const std::string& prefix, size_t hidden);

    std::string key(const char* name) const;
    Norm norm(const std::string& name, size_t n, bool needed = true);
    void pack_all();

    Model& model_;
    const File& file_;
    const Architecture* architecture_ = nullptr;
    size_t head_ = 0;
    float epsilon_ = 0;
    std::vector<bool> recurrent_;  // of each layer: an MLGRU in the place of attention
    std::vector<int64_t> heads_, kv_heads_, feed_forward_;
    std::vector<size_t> windows_;  // of each layer; 0: it sees everything
    Linears linears_;
};

}  // namespace filament
