"""The two scheduling decisions, as pure functions of plain data: who is admitted to an engine, who shares a pass.

ranking        classes, due times, head starts            tables and the order that both decisions use
queue          who starts next: `WaitQueue.take`          on lanes (fair shares) and sorted_blocks
admission      the same, first come, first served         for those who know nothing of cost
composition    who shares the next pass: `choose`
cost           what passes take, learnt; knees            `CostModel`
forecast       ETAs, which deadlines can be kept
"""
