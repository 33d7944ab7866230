// Answers how @cloud-copilot/iam-simulate decides. The first line of standard input
// is a list of policies, each further line a question: {"identity": [number],
// "resource": number|null, "principal": string|null, "action": s, "arn": s,
// "owner": s, "context": {}} → "Allowed", "ImplicitlyDenied", "ExplicitlyDenied".
// The library is AGPL: it is run by tests and shipped with nothing.
//
// Its core is called below the checks of its public entry, which know the
// context keys of each action and refuse the odd ones that tests are made of;
// runUnsafeSimulation of 0.1.173, which is for that, fails on any resource policy.
import { createInterface } from 'node:readline'
import { anonymousPrincipal } from '@cloud-copilot/iam-simulate'
import { loadPolicy } from '@cloud-copilot/iam-policy'
const core = './node_modules/@cloud-copilot/iam-simulate/dist/esm/'
const { authorize } = await import(core + 'core_engine/CoreSimulatorEngine.js')
const { AwsRequestImpl } = await import(core + 'request/request.js')
const { RequestContextImpl } = await import(core + 'requestContext.js')
const { DiscoveryContextKeyConstraints } = await import(core + 'context_keys/discoveryContextKeyConstraints.js')

let policies
for await (const line of createInterface({ input: process.stdin })) {
  const q = JSON.parse(line)
  if (!policies) {
    policies = q.map((policy, i) => loadPolicy(policy, { name: `policy ${i}` }))
    continue
  }
  let answer
  try {
    answer = authorize({
      request: new AwsRequestImpl(q.principal ?? anonymousPrincipal, { resource: q.arn, accountId: q.owner }, q.action, new RequestContextImpl(q.context ?? {})),
      identityPolicies: q.identity.map((i) => policies[i]),
      resourcePolicy: policies[q.resource ?? -1],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
      simulationParameters: { simulationMode: 'Strict', discoveryContextKeyConstraints: new DiscoveryContextKeyConstraints([]) },
      serviceSettings: {},
    }).result
  } catch (e) {
    answer = `error: ${e.stack}`
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
