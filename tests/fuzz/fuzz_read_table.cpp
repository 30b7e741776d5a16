/// Any bytes as table.yaml: an InputError, or a table that survives being written and read again. (Writing replaces
/// bytes that are no UTF-8.)
#include "output/emit.hpp"
#include "tests/fuzz/support.hpp"
#include "tuner/error.hpp"

using namespace crossover;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Table table;
    try {
        table = parse_table(std::string(reinterpret_cast<const char*>(data), size), "table.yaml");
    } catch (const InputError&) {
        return 0;
    }
    const std::string yaml = emit_yaml(table);
    fuzz::require(emit_yaml(parse_table(yaml, "again")) == yaml, "table.yaml keeps its table");
    return 0;
}
