"""The same model and the same trace, deployed in five ways: what each costs, who sheds, collapses and loses."""
