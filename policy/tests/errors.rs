mod common;
use keyplane_policy::load;

#[test]
fn probe() {
    let cases: &[&str] = &[
        "key: a\n\tprofile: b\n",
        "key: a\nprofile:\n\tb\n",
        "key: a\n  profile: b\n",
        "key: a\nplacements:\n  - aws: { destination: a\nprofile: b\n",
        "key: \"a\nprofile: b\n",
        "key: 'a\n",
        "key: [a\n",
        "key: a]\n",
        "key: a\nkey: b\n",
        "key: &x a\nprofile: *y\n",
        "key: a\n<<: {profile: b}\n",
        "key: a\n- b\n",
        "key: a\n profile: b\n",
        "- a\n- b\n",
        "a\n",
        "{}\n",
        "key: !foo a\n",
        "key: a: b\n",
        "key: @a\n",
        "key: `a`\n",
        "key: %a\n",
        "%YAML 1.2\n---\nkey: a\n",
        "key: a\nprofile b\npurpose: c\n",
        "? [a, b]\n: c\n",
        "1: a\n",
        "key: \"\\q\"\n",
        "key: |\n  a\n b\n",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
        "key: [[[[[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]]]]]\n",
        "key: &a [*a]\n",
        "key: a\n...\nkey: b\n",
        "key: .nan\n",
        "key: \u{0}\n",
        "key: a # x\nprofile:b\n",
        "key: !!int abc\n",
        "key: 1e400\n",
        "key: a\nprofile: [a\nb: c\n---\nkey: 17\n---\n# nothing\n",
        "key:\n",
        "key: !!binary aGVsbG8=\n",
    ];
    for case in cases {
        println!("=== {case:?}");
        match load(&[("f.yaml".into(), (*case).into())], None) {
            Ok(p) => println!("  OK {:?}", p.intent.keys),
            Err(problems) => for p in problems { println!("  {p}"); },
        }
    }
}
