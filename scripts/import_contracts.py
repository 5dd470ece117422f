"""Contracts for import-linter that it does not have itself: see [tool.importlinter] in pyproject.toml."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.contracts.forbidden import ForbiddenContract


class ForbiddenWherePresent(ForbiddenContract):
    """The forbidden contract, for a list that also names modules which are not written yet."""

    type_name = "forbidden_where_present"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Checks the modules that exist."""
        for name in ("source_modules", "forbidden_modules"):
            setattr(self, name, {module for module in getattr(self, name) if module.expression in graph.modules})
        return super().check(graph, verbose)


class IndependentMethods(Contract):
    """No file of a package imports a file that holds a method.

    Every file of the package holds one, but for those whose names begin with an underscore (the parts that methods
    share) and those listed as `shared`. A new method needs no line here.
    """

    type_name = "independent_methods"

    package = fields.StringField()
    shared = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Looks at direct imports between all files of the package: a chain has one of them as its last link."""
        files = graph.find_children(self.package)
        names = {file: file.rpartition(".")[2] for file in files}
        methods = {file for file, name in names.items() if not name.startswith("_") and name not in self.shared}
        broken = [
            (importer, imported)
            for importer in sorted(files)
            for imported in sorted(graph.find_modules_directly_imported_by(importer) & methods)
        ]
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Names the imports."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}: move what both need to a file of its own (_subject.py)")
