import re
def res(p,f):
    s=open(p).read()
    s=re.sub(r"<<<<<<< HEAD\n(.*?)=======\n(.*?)>>>>>>> [^\n]*\n",lambda m:f(m.group(1),m.group(2)),s,flags=re.S)
    open(p,'w').write(s)
pick=lambda b,k:''.join(l+'\n' for l in b.split('\n')[:-1] if k in l)
res('README.md',lambda a,b:pick(b,'| locks')+a)
res('src/lib.rs',lambda a,b:pick(b,'| locks')+a)
res('src/rt/models/mod.rs',lambda a,b:pick(b,'`locks`')+a)
res('benches/figures.rs',lambda a,b:b.split('\n')[0]+'\n'+a.split('\n')[1]+'\n')
res('tests/layers.rs',lambda a,b:a.split('\n')[0]+'\n'+'\n'.join(b.split('\n')[1:-2])+'\n'+a.split('\n')[1]+'\n')
res('verify/mutants.txt',lambda a,b:a+'\n'+b)
