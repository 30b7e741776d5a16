#pragma once
/// The subcommands, one file each. `arguments` are those after the subcommand's name. They return the exit status:
/// 0 good, 1 the answer is "no"; unusable input is an InputError, which main turns into 2.

#include <string>
#include <vector>

namespace crossover {

int run_tune(const std::vector<std::string>& arguments);
int run_bench(const std::vector<std::string>& arguments);
int run_fit(const std::vector<std::string>& arguments);
int run_emit(const std::vector<std::string>& arguments);
int run_ranges(const std::vector<std::string>& arguments);
int run_import(const std::vector<std::string>& arguments);
int run_doctor(const std::vector<std::string>& arguments);
int run_compare(const std::vector<std::string>& arguments);
int run_evaluate(const std::vector<std::string>& arguments);
int run_report(const std::vector<std::string>& arguments);

} // namespace crossover
